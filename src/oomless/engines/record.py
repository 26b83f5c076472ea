"""A serving engine as a record: what is particular to it, as functions and facts. Derived engines are
`_replace`s of another's record, so what they inherit is visible."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..facts.derived_engines import DERIVED
from ..ledger import Line
from ..model.model import Model, Tensor
from ..records import Record
from ..run.cards import Hardware
from ..run.serving import Asked, Layout, Resolved
from .rank import Budget, CacheLayout, Count, Placed, Stage

if TYPE_CHECKING:
    from .requantised import Loading


class CardMakers(Record):
    """The makers of cards that an engine runs on. A card that is only a size has none ("")."""

    only: tuple[str, ...] = ()
    """(): all but those of `instead`."""
    instead: tuple[tuple[str, str], ...] = ()
    """Makers whose cards it does not run on, each with the engine that does."""
    tried: tuple[str, ...] = ()
    """Makers on whose cards a plan tries it unasked; "*": those that no engine names."""


Purpose = Literal["pace", "share", "room", "batch", "captures", "graphs"]
"""What a flag is set for. pace: how much of a prompt a step reads. share: of the card, from the largest down.
room: more cache, at no cost of time; its last value makes most. batch: the most sequences of a step, which
makes room and, below the load, makes others wait. captures: the largest batch with a graph of its own.
graphs: room, paid with time."""


class Tunable(Record):
    """A flag that tuning may set, with the values that it tries beside the engine's own choice."""

    field: str
    values: tuple[Any, ...]
    purpose: Purpose
    counts_groups: bool = False
    """It counts what all data-parallel groups of attention have together."""


class Candidates(Record):
    """What a plan may try of an engine."""

    layouts: Callable[[Model, Hardware], Iterable[tuple[Layout, int]]]
    """(layout, replicas) on all cards, most often used first."""
    forms: tuple[str, ...] = ()
    """Forms of 16-bit weights beside the published one, least quantised first."""
    cache_types: tuple[str, ...] = ("auto",)
    """Types of the cache, the engine's own first."""
    most_sequences: int | None = None
    """Sequences at once for which it is planned unasked; None: any number."""
    shares_card: bool = False
    """It can be started more than once on a card: it takes a share that it is told, or what it needs."""
    ranked_last: bool = False
    """Of rows that are equal in all else, its own come last."""
    sets_slots: bool = False
    """Its server makes room for as many sequences as it is told, so the number is always said."""
    least_step: int = 0
    """Tokens of its smallest step unasked: with more sequences than that it refuses, unless it is told a
    larger one; 0: a step has any number."""
    more_layouts: Callable[[Model, Hardware], Iterable[Layout]] = lambda model, hardware: ()
    """Layouts beside those, which are tried on cards that are given."""
    tuned: tuple[Tunable, ...] = ()
    """Flags that tuning may set on cards that are given, in the order in which an engineer tries them."""
    offloads: tuple[Tunable, ...] = ()
    """Flags that move weights to the host, least first: tried where nothing starts without."""
    narrow_cache: tuple[tuple[str, str], ...] = ()
    """The flags, with their words, that together halve the cache at some cost of quality."""


class Joining(Record):
    """How a server is told of several machines: --nnodes, --node-rank, and where they meet."""

    address_flag: str
    """The flag with the first machine's address."""
    port: int | None = None
    """The port that stands behind the address; None: none is asked for."""
    worker: tuple[str, ...] = ()
    """Words for a machine that takes no requests."""


class Start(Record):
    """How an engine's server is started; its flags are those of the table of options."""

    by: Literal["program", "script", "modelfile"] = "program"
    """program: a command line. script: a library that a script of ours calls. modelfile: a file that names
    the model, read by a server that runs already."""
    image: str = ""
    """The container image of a release, with {version}; "": none that is published for each."""
    package: str = ""
    """What pip installs for a release, with {version}; "": more is needed than that."""
    joining: Joining | None = None
    """None: its server does not start on several machines by flags."""
    over_ray: bool = False
    """Several machines may meet over Ray instead."""
    mpi_launcher: str = ""
    """The program between `srun --mpi` and the server, one task a card; "": it is started once a machine."""
    made_on_loading: tuple[str, ...] = ()
    """Forms of the weights that it makes of 16 bit while it loads; another one is a checkpoint of its own."""
    port: int = 8000
    """The port that its server listens on by itself."""
    told: tuple[str, str] = ("--host", "--port")
    """Its flags of the address and of the port."""


PrintedText = Callable[[str], str | None]
"""An argument's name -> its text in the configuration that a log prints; None: it is left to the engine."""
SaidText = Callable[[str], str]
"""A word of a log -> its text there; "": the log does not say it."""


class EngineRows(Record):
    """What the columns of measured rows mean for an engine."""

    words: tuple[str, ...] = ()
    """The engine's names in the tables."""
    as_asked: Callable[[Asked, str], Asked] = lambda asked, flags: asked
    """The question of the common columns, and the row's flags -> the question in the engine's own fields."""
    prints_gib_as_gb: bool = False
    """Its log writes GB and means GiB."""
    tells_draft_apart: bool = False
    """Its log says what the target took before it loads a draft, and what that took by itself."""
    default_batch_counts: bool = False
    """Its profile run takes the default batch, so a row that does not say one leaves it open."""
    batch_follows_length: Callable[[str], bool] = lambda version: False
    """Whether the default batch of a release follows the length, so that a row must give it."""
    generation: Callable[[str], str] = lambda version: ""
    """The generation of the engine that a release starts by itself, where a log names one."""
    flags_of_log: Callable[[Mapping[str, object], PrintedText, SaidText], list[str]] = (
        lambda stated, printed, said: []
    )
    """What a log says -> the words of `other_flags` that `as_asked` reads."""


class Engine(Record):
    """All that other rooms ask of a serving engine."""

    name: str
    """As --engine says it."""
    label: str
    """As people write it."""
    versions: tuple[str, ...]
    """Releases whose memory rules were read, oldest first."""
    cards: CardMakers
    candidates: Candidates
    start: Start
    rows: EngineRows
    speed_class: str
    """The engine whose measured speeds stand for it (columns `engine` of the tables of speed)."""

    layouts: Callable[[Hardware, Layout], list[Layout]]
    """(hardware, asked division) -> the layouts to try where no sizes are asked for, smallest first."""
    resolve: Callable[[Model, Hardware, Asked, Layout], Resolved]
    """The question with every default that the engine would choose."""
    stages: Callable[[Model, Resolved], list[Stage]]
    """Groups of equal ranks, by the layers that they hold; one a card where cards share no layer."""
    placed_weights: Callable[[Model, Resolved, Hardware, Stage], list[Placed]]
    """Every tensor that one rank holds after loading, in order of creation within a layer."""
    budget_lines: Callable[[Model, Resolved, Hardware, Stage], Budget]
    """Everything on the card but weights and cache."""
    cache_layout: Callable[[Model, Resolved, Stage], CacheLayout]
    """How one rank pages its cache."""
    needed_bytes: Callable[[CacheLayout, Resolved], int]
    """Pool that the asked load needs."""
    max_tokens: Callable[[list[CacheLayout], list[int], Resolved], int]
    """(layouts, pools) of all stages -> the capacity that the engine would print."""
    sequences: Callable[[CacheLayout, int, int, Resolved], float]
    """(layout, pool, length) -> sequences of a length that fit the pool at once."""
    longest_sequence: Callable[[CacheLayout, int, Resolved], int]
    """The longest single sequence that a pool holds."""
    budget_bytes: Callable[[Resolved, Hardware], int] = lambda asked, hardware: hardware.card.memory_bytes
    """What the engine allows itself on a card: all of it, unless it says a share."""
    pool_bytes: Callable[[Resolved, int, int], int] = lambda asked, budget, taken: budget - taken
    """(question, budget, bytes of it that are taken) -> what the cache gets: all that is left, or a share."""
    host_bytes: Callable[[Model, Resolved, Hardware], int] = lambda model, asked, hardware: 0
    """Memory of the host that the engine holds beside the cards; none, where nothing stays there."""
    made_pool: Callable[[CacheLayout, Resolved, int], int] | None = None
    """(layout, question, bytes that are left) -> the pool that is made, where the question says its size."""
    loading: "Callable[[Model, Resolved, Hardware, Stage], Loading | None] | None" = None
    """What a rank holds while it loads, where that is more than what stays; None: never more."""
    beside_pool: Callable[[Model, Resolved, Stage, int], list[Line]] | None = None
    """What comes with a pool of so many bytes, outside of the budget that it was cut from."""

    counts: Count = "allocated"
    """How the memory of weights is counted in its own figures."""
    keeps_unused_head: bool = False
    """A model that is asked for vectors holds its head all the same."""
    leaves_blocks: Callable[[Model, Resolved], bool] = lambda model, asked: True
    """Whether loading makes and drops tensors between those that stay."""
    cache_types: tuple[str, ...] = ()
    """What --kv-cache-dtype may say."""
    cache_field: str = "kv_cache_dtype"
    """The option by which it is told the type of its cache; that of the keys, where keys and values have one
    each."""
    spreads: Callable[[Mapping[str, Any]], bool] = lambda given: False
    """Whether a server of these options deals its layers over all cards that it sees."""
    num_named: Callable[[Mapping[str, Any]], int] = lambda given: 1
    """How many cards its options name, one after the other."""
    share_flag: str = ""
    """The flag of the share of the card that it takes whole at start; "": it takes no share."""
    axis: Literal["tp", "pp"] = "tp"
    """The size by which one more card is used."""
    file_types: bool = False
    """--quantization is a GGUF file type."""
    tag_type: str = ""
    """The file type that its own library of models holds, where none is asked for; "": it has no library."""
    most_devices: int = 0
    """Cards of one server in a usual build; 0: any."""
    fills_host: bool = False
    """Layers or experts may stay in the host's memory, and compute there."""
    hosts_experts: bool = False
    """Routed experts always stay in the host's memory, and compute there."""
    host_memory_at: Literal["every rank", "last rank"] = "every rank"
    """Whose machine holds what stays on the host, where each rank has a machine of its own."""
    buffers_follow_context: bool = False
    """Buffers beside the cache grow with the context, so the longest one is found by asking."""
    cache_of_load: bool = False
    """The cache is made at start, as large as the asked load: nothing of the load can wait for room."""
    cuts_at_model_positions: bool = False
    """It takes a length beyond the model's positions, and cuts sequences off there."""
    redundant_experts_need_ep: bool = False
    """Redundant copies of experts are made under expert parallelism alone."""
    draft_models: bool = False
    """Another model may draft beside the one that is served, in the same pool."""
    draft_heads: Callable[[str | None], tuple[str, ...]] | None = None
    """(release) -> kinds of heads that draft in it, in the same pool; None: not known."""
    encodes: bool = False
    """What it holds of an encoder is known."""
    adapters: bool = False
    """Slots for LoRA adapters are known."""
    in_file: Callable[[Model, Resolved], Model] | None = None
    """The model as its file stores it, where that is not the published checkpoint."""
    unsaid: Callable[[str, Hardware], tuple[tuple[str, ...], ...]] | None = None
    """(text of a release, cards) -> what the text leaves open, each as the words that would say it; None: it
    says all that is asked."""
    fit: (
        Callable[[Model, Asked, Hardware, Callable[[Asked], tuple[int, ...]]], tuple[Asked, str] | None]
        | None
    ) = None
    """(model, question, cards, what a question leaves free on each card) -> the question as the engine
    changes it to start, and a sentence of what it changed; None: it changes nothing, or not enough."""
    weighs_drafts: Callable[[Resolved], bool] = lambda asked: True
    """Whether it counts then what drafts."""
    weighs_pictures: Callable[[Resolved], bool] = lambda asked: False
    """Whether what it changes to start has room for a picture, which it reserves."""
    cuts_sessions: Callable[[Model, Resolved], bool] = lambda model, asked: False
    """Whether it cuts a session to what its pool holds, instead of waiting for room that never comes."""
    left_to_host: Callable[[Model, Resolved], tuple[list[Tensor], set[int]]] | None = None
    """The tensors that a question leaves in the host's memory, and the layers whose cache lies there."""
    log: str = ""
    """The module that says how its log reads (its LOG), loaded where one is read; "": it has no figures."""
    log_signs: tuple[bytes, ...] = ()
    """Bytes by which its log is told from one of the engine whose lines it writes."""
    log_names_release: bool = True
    """Its log says which release wrote it."""

    @property
    def latest(self) -> str:
        """The newest release that is known."""
        return self.versions[-1]


def derived(parent: Engine, name: str) -> Engine:
    """Return the record that an engine has of another's, with what facts/derived_engines.py says of its own.

    >>> from . import engine
    >>> found = derived(engine("llamacpp"), "ik-llamacpp")
    >>> found.label, found.start == engine("llamacpp").start
    ('ik_llama.cpp', True)
    """
    row = DERIVED[name]
    return parent._replace(
        name=row.name,
        label=row.label,
        cards=CardMakers(only=row.makers, tried=row.makers),
        rows=parent.rows._replace(words=(row.label,)),
        log_signs=row.log_signs,
        encodes=False,
    )
