// An identity provider that others wrote (oidc-provider), over TLS: its first line has its address and three tokens: of a
// person, of a person for whom a program uses it, and of a program.
import { readFileSync } from "node:fs";
import https from "node:https";
import Provider from "oidc-provider";

const [certificate, key] = process.argv.slice(2);
const api = { audience: "hmsactd", scope: "operations", accessTokenFormat: "jwt", accessTokenTTL: 300 };
const server = https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) });

server.listen(0, "localhost", async () => {
  const issuer = `https://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: "portal", token_endpoint_auth_method: "none", redirect_uris: ["https://portal.example/"] }],
    extraTokenClaims: (_, made) => ({
      roles: ["hmsact.viewer"],
      ...(made.accountId === "mgarcia" && { act: { sub: "portal" } }),
    }),
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: { enabled: true, getResourceServerInfo: () => api },
    },
  });
  server.on("request", provider.callback());
  const client = await provider.Client.find("portal");
  const issue = (made) => {
    made.resourceServer = new provider.ResourceServer("urn:hmsactd", api);
    return made.save();
  };
  const person = await issue(new provider.AccessToken({ accountId: "jdavis", client, scope: "operations" }));
  const exchanged = await issue(new provider.AccessToken({ accountId: "mgarcia", client, scope: "operations" }));
  const program = await issue(new provider.ClientCredentials({ client, scope: "operations" }));
  console.log(JSON.stringify({ issuer, person, exchanged, program }));
});
