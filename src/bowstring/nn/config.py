"""The shape of a network: one dial, three presets, closed under JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

HEAD = 64  # width of one attention head; every preset is a multiple of it
MODALITIES = ("text", "image", "audio", "avatar")
CHANNELS = {"image": 64, "audio": 96, "avatar": 40}  # numbers of one token of each real-valued modality
FEW = 4  # the most steps that are jumps
RENAMED = {"hidden": "ffn_hidden"}  # keys of older files
PLACES = {"image": 64}  # tokens of a modality that fills a plane instead of time

TIME_FEATURES, TIME_RANK = 256, 128  # of what tells the trunk its time

SLOTS = 4  # moments within a token at which the sound is told
SOUNDS = 64  # ids of sounds, 0 is silence
VOICE = 103  # statistics of a voice
SPEAKER = 64  # numbers that the speaker encoder tells of a voice, behind its statistics
SOUND_WIDTH = 48
REACH = 8  # tokens to either side whose sounds still matter to what a token is expected to be
EDGES = 5  # numbers that say where in the utterance a token lies
BASELINE_FEATURES = 3 * SLOTS * 3 * SOUNDS + 2 * (REACH - 1) * SOUNDS + EDGES + VOICE + 1


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of a `UnifiedScoreNetwork`.

    `size` is the one dial: size n has n heads of 64, is 64 n wide and n layers deep (about 50,000 n^3
    parameters). The other fields are for shapes that the dial does not reach.

    Raises:
        ValueError: a size that no network can have.
    """

    width: int = 384
    depth: int = 6
    ffn_hidden: int = 1024  # inner width of the SwiGLU feed-forward
    vocab: int = 4096
    rank: int = 192  # inner width of the factorised, tied text embedding
    cross_every: int = 3  # a cross-attention slot in every n-th layer
    speaker: int = 0  # numbers of a voice beside its statistics that the audio head listens to
    duration_flow: int = 0  # 1: how long sounds last is drawn, and not only what is expected

    def __post_init__(self) -> None:
        if self.width % HEAD or self.width < HEAD:
            raise ValueError(
                f"width {self.width} is not a positive multiple of {HEAD}; try "
                f"{max(HEAD, self.width // HEAD * HEAD)}"
            )
        for name in ("depth", "ffn_hidden", "vocab", "rank", "cross_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.speaker not in (0, SPEAKER):
            raise ValueError(f"speaker is {self.speaker}; expected 0 or {SPEAKER}")
        if self.duration_flow not in (0, 1):
            raise ValueError(f"duration_flow is {self.duration_flow}; expected 0 or 1")

    @property
    def attention_heads(self) -> int:
        return self.width // HEAD

    @classmethod
    def of_size(cls, size: int, vocab: int = 4096) -> NetworkConfig:
        """The dial: size 6 is the shipped network, 12 is 768 wide and 12 deep, 37 has 2.8 B parameters."""
        width = HEAD * size
        return cls(
            width=width, depth=size, ffn_hidden=-(-8 * width // 3 // 64) * 64, vocab=vocab, rank=width // 2
        )

    @classmethod
    def from_json(cls, data: dict[str, int]) -> NetworkConfig:
        """Refuses unknown keys; reads those that have another name by now.

        Raises:
            ValueError: a key that no field has.
        """
        data = {RENAMED.get(key, key): value for key, value in data.items()}
        known = {field.name for field in fields(cls)}
        if unknown := set(data) - known:
            raise ValueError(f"network has unknown keys {sorted(unknown)}; known are {sorted(known)}")
        return cls(**data)

    def to_json(self) -> dict[str, int]:
        return asdict(self)


SHAPES = {
    "12x768": NetworkConfig.of_size(12),
    "24x1024": NetworkConfig(width=1024, depth=24, ffn_hidden=2880, rank=512),
}
PRESETS = {
    "edge": NetworkConfig.of_size(6),
    "workstation": NetworkConfig.of_size(18),
    "cloud": NetworkConfig.of_size(37),
}
