"""Everything that can be set, by section: the values, their defaults, limits and descriptions."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dicom_node.settings.destinations import Destinations, MessageDestination
from dicom_node.settings.observing import Audit, Metrics
from dicom_node.settings.section import AETitle, Section, first_line_of
from dicom_node.settings.web import Web


class Node(Section):
    """Who the node is and where it keeps everything."""

    ae_title: AETitle = Field(default="LUNGSENTRY", description="AE title the node answers to and calls with.")
    data_dir: Path = Field(
        default=Path("lungsentry-data"), description="Folder of the archive, the results and the SQLite file."
    )


class Database(Section):
    """Where state is held."""

    url: str | None = Field(
        default=None,
        description="SQLAlchemy URL (postgresql+psycopg://user@host/name); none means SQLite in the data folder.",
    )
    url_file: Path | None = Field(
        default=None, description="File whose first line is the URL, for a password that must not stand here."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.url and self.url_file:
            raise ValueError("give url or url_file, not both")
        return self


class Receiver(Section):
    """The Storage SCP."""

    host: str = Field(default="0.0.0.0", description="Address to listen on.")  # noqa: S104 - scanners are on the hospital's network
    port: int = Field(default=11112, ge=0, le=65535, description="Port to listen on; 0 takes a free one and prints it.")
    max_associations: int = Field(
        default=50, ge=1, description="Associations open at once; more are rejected as transient."
    )
    max_associations_per_peer: int = Field(
        default=25, ge=1, description="... of one calling AE title, and from one address."
    )
    max_pdu_bytes: int = Field(default=131072, ge=16384, description="Largest PDU that is negotiated.")
    max_instance_bytes: int = Field(
        default=2_147_483_648, ge=1_048_576, description="Largest dataset that is accepted."
    )
    acse_timeout_s: float = Field(default=30, gt=0, description="Time a peer has to finish the handshake.")
    network_timeout_s: float = Field(
        default=60, gt=0, description="Silence on an association after which it is aborted."
    )
    pdu_timeout_s: float = Field(default=30, gt=0, description="Time from a PDU's first byte to its last.")
    max_silent: int = Field(
        default=256, ge=1, description="Connections that have not asked for an association, in total."
    )
    max_silent_per_address: int = Field(default=64, ge=1, description="... and from one address.")
    processes: int = Field(
        default_factory=lambda: min(4, os.cpu_count() or 1),
        ge=1,
        le=64,
        description="Processes that receive; by default one for every core, up to four.",
    )
    disk_watermark_bytes: int = Field(
        default=1_073_741_824, ge=0, description="Free space below which instances are refused (0xA700)."
    )
    accept_unknown_peers: bool = Field(
        default=False, description="Take associations from any peer. For a test bench only."
    )


class Tls(Section):
    """Encrypted associations, beside the plain ones. Both sides show a certificate."""

    port: int | None = Field(
        default=None, ge=0, le=65535, description="Port to listen on with TLS (2762 is usual); none means no TLS."
    )
    certificates: Path | None = Field(
        default=None,
        description="Folder with certificate.pem, key.pem and trusted/*.pem; changed files are taken up at once.",
    )
    verify_peers: bool = Field(
        default=True, description="Refuse a caller without a trusted certificate. Off only encrypts."
    )
    check_host_names: bool = Field(
        default=True, description="Where the node calls: the peer's certificate must name the host that is called."
    )
    handshake_timeout_s: float = Field(default=10, gt=0, description="Time a caller has for the TLS handshake.")
    warn_days: float = Field(default=30, ge=0, description="Days before a certificate ends that a warning is given.")
    outgoing: tuple[AETitle, ...] = Field(default=(), description="AE titles that the node itself calls with TLS.")

    @model_validator(mode="after")
    def _has_certificates(self) -> Self:
        if self.certificates is None and (self.port is not None or self.outgoing):
            raise ValueError("certificates must name the folder of certificates")
        return self


class Commitment(Section):
    """Storage commitment: the answer to a scanner that asks whether its instances are safe."""

    enabled: bool = Field(default=True, description="Take such requests.")
    same_association: bool = Field(
        default=True, description="Answer on the association of the request; else always on a new one."
    )
    max_attempts: int = Field(default=12, ge=1, description="Attempts before an answer goes to the dead letters.")
    retry_base_s: float = Field(
        default=30, gt=0, description="Back-off before the second attempt; doubles, with jitter."
    )
    sweep_s: float = Field(default=2, gt=0, description="Seconds between looks at the answers that are due.")


class Completion(Section):
    """When a series counts as complete."""

    quiet_s: float = Field(default=5, ge=0, description="Quiet time after the last instance of a volume without gaps.")
    incomplete_quiet_s: float = Field(
        default=120, ge=0, description="Quiet time after which a volume with gaps is taken as it is."
    )
    sweep_s: float = Field(default=1, gt=0, description="Seconds between looks at what is complete.")
    pacs: AETitle | None = Field(
        default=None,
        description="AE title of the PACS that is asked (C-FIND) how many instances a series has; none asks nobody.",
    )
    mpps: bool = Field(
        default=False, description="Take performed procedure steps (MPPS), and what they list as evidence."
    )


class Worker(Section):
    """How jobs are run."""

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="Where the model runs.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads of the model; none means all cores.")
    lease_s: float = Field(default=60, gt=0, description="Seconds after which a silent worker loses its job.")
    time_limit_s: float = Field(default=900, gt=0, description="Seconds a job may take.")
    max_attempts: int = Field(default=3, ge=1, description="Attempts before a job goes to the dead letters.")
    retry_base_s: float = Field(
        default=10, gt=0, description="Back-off before the second attempt; doubles, with jitter."
    )
    poll_s: float = Field(default=0.5, gt=0, description="Seconds between looks at the queue.")


class AgePolicy(Section):
    """When a result of a patient of this age becomes an alert."""

    from_years: int = Field(ge=0, description="The youngest, in whole years.")
    below_years: int = Field(gt=0, description="Who is this old is too old.")
    burden_percent: float = Field(gt=0, le=100, description="Burden at and above which the examination is flagged.")
    lesion_volume_ml: float = Field(gt=0, description="Least volume of opacity that is flagged.")

    @model_validator(mode="after")
    def _goes_upwards(self) -> Self:
        if self.from_years >= self.below_years:
            raise ValueError("from_years is less than below_years")
        return self


class ProfilePolicy(Section):
    """When a result of one profile becomes an alert."""

    burden_percent: float = Field(gt=0, le=100, description="Burden at and above which the examination is flagged.")
    lesion_volume_ml: float = Field(gt=0, description="Least volume of opacity that is flagged, whatever the share.")
    ages: tuple[AgePolicy, ...] = Field(
        default=(), description="Other thresholds for patients of an age; of overlapping bands the first counts."
    )


class EscalationMinutes(Section):
    """How long a flagged case may wait until somebody looks at it, by its ACR category; then it is escalated."""

    category_1: float = Field(default=60, gt=0, description="Minutes for what may not wait.")
    category_2: float = Field(default=240, gt=0, description="... for what is to be looked at within hours.")
    category_3: float = Field(default=4320, gt=0, description="... for what is to be looked at within days.")


class Policy(Section):
    """Alert policy by profile."""

    # The operating points of the shipped model's card, rounded down to half a percent: few patients settle no decimal.
    chest_ct: ProfilePolicy = ProfilePolicy(burden_percent=2.0, lesion_volume_ml=5.0)
    ctac: ProfilePolicy = ProfilePolicy(burden_percent=0.5, lesion_volume_ml=10.0)
    expected_words: tuple[str, ...] = Field(
        default=("covid", "sars-cov", "pneumonia", "pneumonitis", "corona"),
        description="Words of the request or description that make opacities expected, not incidental.",
    )
    escalation_minutes: EscalationMinutes = EscalationMinutes()


class Quality(Section):
    """From where on images count as limited, or as not analysable."""

    limited_noise_hu: float = Field(default=45, gt=0, description="Noise in soft tissue that limits the result.")
    unusable_noise_hu: float = Field(default=150, gt=0, description="... and that makes images not analysable.")
    limited_coverage_percent: float = Field(
        default=95, ge=0, le=100, description="Imaged share of the lungs' height below which it is told."
    )
    unusable_coverage_percent: float = Field(
        default=20, ge=0, le=100, description="... and below which images are not analysable."
    )
    limited_slice_step_mm: float = Field(default=5.5, gt=0, description="Distance of slices that limits the result.")
    limited_motion_mm: float = Field(default=4, gt=0, description="Jump between slices that counts as motion.")
    limited_cut_off_percent: float = Field(
        default=0.5, ge=0, le=100, description="Share of the lungs' outline that may lie on the field of view's border."
    )
    limited_air_error_hu: float = Field(default=60, gt=0, description="How far air may be off -1000 HU.")
    unusable_air_error_hu: float = Field(default=150, gt=0, description="... before images are not analysable.")
    expiratory_lung_hu: float = Field(
        default=-750, description="Median of the lung outside opacities above which it counts as expiration."
    )
    least_lung_spread_hu: float = Field(
        default=110, ge=0, description="Spread of HU, as vessels make it, below which lung counts as no lung."
    )
    contrast_blood_hu: float = Field(default=90, description="Attenuation of blood that counts as contrast.")
    sharp_grain_mm: float = Field(default=0.6, ge=0, description="Grain of noise below which a kernel counts as sharp.")
    limited_agreement: float = Field(
        default=0.9, ge=0, le=1, description="Dice of two lung methods below which the result is limited."
    )
    unusable_agreement: float = Field(
        default=0.6, ge=0, le=1, description="... and below which images are not analysable."
    )


class Delivery(Section):
    """How results are sent to destinations."""

    lease_s: float = Field(
        default=60, gt=0, description="Seconds after which a silent sender loses the delivery that it is sending."
    )
    timeout_s: float = Field(default=30, gt=0, description="Time a destination has for each step of an exchange.")
    max_attempts: int = Field(default=12, ge=1, description="Attempts before a delivery goes to the dead letters.")
    retry_base_s: float = Field(
        default=30, gt=0, description="Back-off before the second attempt; doubles, with jitter."
    )
    sweep_s: float = Field(default=1, gt=0, description="Seconds between looks at the deliveries that are due.")


class Retention(Section):
    """How long instances are kept once their series has ended, and what else the node remembers; results stay."""

    analysed_days: float | None = Field(
        default=None,
        gt=0,
        description="Days after which the instances of analysed series are removed; none keeps them.",
    )
    excluded_days: float | None = Field(default=None, gt=0, description="... of excluded series.")
    failed_days: float | None = Field(
        default=None, gt=0, description="... of failed series, which somebody may still want to look at."
    )
    events_days: float = Field(
        default=365, gt=0, description="Days that events are kept; those of results and alerts that stand stay."
    )
    jobs_days: float = Field(default=365, gt=0, description="... and jobs that ended without a result.")
    commitments_days: float = Field(default=90, gt=0, description="... and answered requests for storage commitment.")
    associations_days: float = Field(default=30, gt=0, description="... and associations that are closed.")
    refusals_days: float = Field(default=90, gt=0, description="... and refused callers, of which 10,000 at most.")
    sweep_s: float = Field(default=3600, gt=0, description="Seconds between looks at what may go.")


class Logging(Section):
    """What is logged, and how."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least level that is written."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: console on a terminal, JSON lines elsewhere."
    )


class Settings(BaseSettings):
    """Everything that can be set. Read once, at the command line, and handed on."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="LUNGSENTRY_", env_nested_delimiter="__")

    node: Node = Node()
    database: Database = Database()
    receiver: Receiver = Receiver()
    tls: Tls = Tls()
    commitment: Commitment = Commitment()
    completion: Completion = Completion()
    worker: Worker = Worker()
    policy: Policy = Policy()
    quality: Quality = Quality()
    delivery: Delivery = Delivery()
    destinations: Destinations = ()
    retention: Retention = Retention()
    web: Web = Web()
    logging: Logging = Logging()
    metrics: Metrics = Metrics()
    audit: Audit = Audit()

    @model_validator(mode="after")
    def _destinations_differ(self) -> Self:
        names = [one.name for one in self.destinations]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"destinations: two are called {', '.join(doubled)}; give each a name of its own")
        return self

    def told(self, after: Literal["flagged", "taken up"]) -> tuple[str, ...]:
        """The names of the destinations that are told of an examination then."""
        return tuple(
            one.name for one in self.destinations if isinstance(one, MessageDestination) and one.after == after
        )

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL in force; may hold a password, so it is never printed."""
        if self.database.url_file:
            return first_line_of(self.database.url_file, "database.url_file")
        if self.database.url:
            return self.database.url
        return f"sqlite:///{self.node.data_dir.resolve() / 'lungsentry.sqlite3'}"

    @property
    def archive_dir(self) -> Path:
        """Where received instances lie, as received."""
        return self.node.data_dir / "archive"

    @property
    def results_dir(self) -> Path:
        """Where reports and pictures lie."""
        return self.node.data_dir / "results"

    @property
    def models_dir(self) -> Path:
        """Where models are installed beside the shipped one; all machines of a node see the same."""
        return self.node.data_dir / "models"
