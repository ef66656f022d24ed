// An identity provider that others wrote (oidc-provider), over TLS. Its first line has its address and three tokens, of a
// person, of a person for whom a program uses it, and of a program; then each line that it reads is the code of a device
// that jdavis lets in.
import { readFileSync } from "node:fs";
import https from "node:https";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";
const RESOURCE = "urn:hmsactd";
const [certificate, key, lasts = "300"] = process.argv.slice(2);
const api = { audience: "hmsactd", scope: "operations", accessTokenFormat: "jwt", accessTokenTTL: Number(lasts) };
const server = https.createServer({ cert: readFileSync(certificate), key: readFileSync(key) });

server.listen(0, "localhost", async () => {
  const issuer = `https://localhost:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      { client_id: "portal", token_endpoint_auth_method: "none", redirect_uris: ["https://portal.example/"] },
      {
        client_id: "terminal",
        token_endpoint_auth_method: "none",
        grant_types: [DEVICE, "refresh_token"],
        redirect_uris: [],
        response_types: [],
      },
    ],
    extraTokenClaims: (_, made) => ({
      roles: ["hmsact.viewer"],
      ...(made.accountId === "mgarcia" && { act: { sub: "portal" } }),
    }),
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    rotateRefreshToken: true,
    features: {
      devInteractions: { enabled: false },
      deviceFlow: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo: () => api, useGrantedResource: () => true },
    },
  });
  server.on("request", provider.callback());
  const client = await provider.Client.find("portal");
  const issue = (made) => {
    made.resourceServer = new provider.ResourceServer(RESOURCE, api);
    return made.save();
  };
  const person = await issue(new provider.AccessToken({ accountId: "jdavis", client, scope: "operations" }));
  const exchanged = await issue(new provider.AccessToken({ accountId: "mgarcia", client, scope: "operations" }));
  const program = await issue(new provider.ClientCredentials({ client, scope: "operations" }));
  createInterface({ input: process.stdin }).on("line", async (code) => {
    const device = await provider.DeviceCode.findByUserCode(code.replaceAll("-", ""));
    const grant = new provider.Grant({ accountId: "jdavis", clientId: "terminal" });
    grant.addOIDCScope("openid offline_access");
    grant.addResourceScope(RESOURCE, "operations");
    Object.assign(device, { accountId: "jdavis", grantId: await grant.save(), authTime: Math.floor(Date.now() / 1000) });
    Object.assign(device, { scope: "openid offline_access operations", resource: RESOURCE });
    await device.save();
  });
  console.log(JSON.stringify({ issuer, person, exchanged, program }));
});
