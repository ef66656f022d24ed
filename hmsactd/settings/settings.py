"""Everything that the daemon can be told to be. The text under a field is its manual."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from hmsactd.identity import dev as development
from hmsactd.settings.called import Called, service_name
from hmsactd.settings.identity import IdentitySection
from hmsactd.settings.sections import (
    BoundsSection,
    Data,
    DefaultsSection,
    Engine,
    Grpc,
    Http,
    Jobs,
    Log,
    Shutdown,
    Store,
    Streams,
    Timeline,
    Workers,
)

if TYPE_CHECKING:
    from hmsactd.definition.read import Defaults

PREFIX = "HMSACTD_"
NESTED = "__"


class Settings(BaseSettings):
    """Everything that can be set. Made by `load`; made directly, it looks at no file and no environment."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        arbitrary_types_allowed=True,
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
    )

    dev: bool = False
    """Development: anybody who can reach the ports is whoever they say they are, so that both must be on loopback.
    Default false."""
    test_clock: bool = False
    """A clock that `AdvanceClock` moves forward, with `dev` only. For tests of what takes days. Default false."""
    identity: IdentitySection = IdentitySection()
    grpc: Grpc = Grpc()
    http: Http = Http()
    data: Data = Data()
    store: Store = Store()
    timeline: Timeline = Timeline()
    defaults: DefaultsSection = DefaultsSection()
    assign: dict[str, str] = Field(default_factory=dict)
    """To whom ("issuer:subject") the checkpoints of a role go at first. Default: to nobody, whoever has the role may
    claim them; with `dev`, those of fsa.officer go to dev:jdavis@fsa.gov."""
    workers: Workers = Workers()
    services: dict[Annotated[str, AfterValidator(service_name)], Called] = Field(default_factory=dict)
    """Services that the daemon calls, by name, each a table: `[services.Treasury]`. Default: none, all of them are done
    by workers, which connect."""
    engine: Engine = Engine()
    jobs: Jobs = Jobs()
    streams: Streams = Streams()
    bounds: BoundsSection = BoundsSection()
    log: Log = Log()
    shutdown: Shutdown = Shutdown()

    @property
    def has_reflection(self) -> bool:
        """True if the API describes itself."""
        return self.dev if self.grpc.reflection is None else self.grpc.reflection

    def definition_defaults(self) -> Defaults:
        """What a definition gets where it is silent."""
        # Here, because it brings the JSON Schema with it, which a look at the settings need not wait for.
        from hmsactd.definition.read import Defaults

        said = self.defaults
        return Defaults(
            retries=said.retries,
            retry_delay_ms=said.retry_delay.ms,
            retry_delay_max_ms=said.retry_delay_max.ms,
            unattended_ms=said.unattended.ms,
            assign=self.assign,
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is read, and in which order, is the business of `load`."""
        return (init_settings,)

    @field_validator("test_clock")
    @classmethod
    def _only_in_development(cls, said: bool, info: ValidationInfo) -> bool:
        if said and not info.data.get("dev", True):
            raise ValueError("is for development only: say dev as well")
        return said

    @field_validator("grpc", "http")
    @classmethod
    def _safe_where_others_are(cls, said: Grpc | Http, info: ValidationInfo) -> Grpc | Http:
        mutual = said.mutual if isinstance(said, Grpc) else None
        open_to_others = [each.listen for each in (said, mutual) if each is not None and not each.listen.is_loopback]
        if not open_to_others:
            return said
        where = f"listens on {', '.join(map(str, open_to_others))}, where others can reach it,"
        if info.data.get("dev"):
            raise ValueError(f"{where} and with dev anybody is let in")
        if said.certificate_file is None:
            raise ValueError(f"{where} without a certificate_file")
        identity = info.data.get("identity")
        if identity is not None and not identity.lets_somebody_in:
            raise ValueError(f"{where} and nobody can sign in: see [identity]")
        return said

    @field_validator("assign")
    @classmethod
    def _assigned_in_development(cls, said: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        """The officer of the examples is there without a line of settings."""
        return development.ASSIGN | said if info.data.get("dev") else said
