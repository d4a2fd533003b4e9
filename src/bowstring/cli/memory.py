"""Commands that remember: remember, recall, memories."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import AsJson, app
from .terminal import filled, note, put_json, put_line, read_stdin_for, sentence, table

if TYPE_CHECKING:
    from ..memory.record import Entry, Memory
    from ..memory.store import ArrowStorage

memories = typer.Typer(no_args_is_help=True, help="Look at what is remembered, and change it.")
app.add_typer(memories, name="memories")

MEMORY = Path.home() / ".local" / "share" / "bowstring" / "memory"
AT_ONCE = 500  # entries of one transaction
LARGEST = 32 << 20  # bytes of pictures and recordings in one
LONGEST_NAME = 1024  # characters; a longer argument is no path
PREVIEW = 100  # characters of a text in a list

Folder = Annotated[
    Path | None,
    typer.Option("--memory", help="The store's folder; default: ~/.local/share/bowstring/memory."),
]
Namespace = Annotated[str | None, typer.Option(help="Only this part of the store; default: all of it.")]
Remembered = Annotated[
    bool, typer.Option("--remembered", help="Let what is remembered guide; --memory and --namespace do, too.")
]
WriteBack = Annotated[bool, typer.Option("--write-back", help="Remember what is made, as the model's.")]
Id = Annotated[str, typer.Argument(help="The id, or its beginning.")]
EmbedderName = Annotated[
    str | None,
    typer.Option(
        "--embedder", help="Of a new store: bowstring (the default), or minilm, which needs its package."
    ),
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be given several times.")]


def storage(folder: Path | None) -> ArrowStorage:
    """A store to look at, of whatever embedder."""
    from ..memory.store import ArrowStorage

    return ArrowStorage(there(folder))


def there(folder: Path | None) -> Path:
    """The folder of a store that exists: whoever only looks makes none.

    Raises:
        FileNotFoundError: there is none.
    """
    folder = folder or MEMORY
    if not is_begun(folder):
        raise FileNotFoundError(f"there is no store of memories in {folder}; `bowstring remember` begins one")
    return folder


def is_begun(folder: Path) -> bool:
    from ..memory.schema import FILE

    return (folder / FILE).is_file()


def memory_in(folder: Path | None, embedder: str | None = None) -> ArrowStorage:
    """A store that understands texts, by the embedder of its vectors; a new one by the one named."""
    from ..memory.embedders import opened

    return opened(folder or MEMORY, embedder)


def loaded(
    model: Path | None, folder: Path | None, namespace: str | None, *, guided: bool, write_back: bool = False
) -> Any:
    """The engine, with a memory if anything asks for one; `engine.memory` then guides. Only who writes back
    begins a store.

    Raises:
        FileNotFoundError: a store that is only read does not exist.
    """
    from ..engine import ArrowEngine

    if not (guided or write_back or folder or namespace):
        return ArrowEngine.load(model)
    engine = ArrowEngine.load(model, memory=memory_in(folder if write_back else there(folder)))
    engine.memory_where = where_of(namespace, None) or None
    return engine


def note_memories(result: Any) -> None:
    """Says which memories guided, and why none did."""
    for guide in result.memories:
        note(f"memory {guide.id} ({guide.weight:.2f}): {shortened(guide.text or '')}")
    for one in result.notes:
        if "memory" in one:
            note(f"note: {one}")


@app.command()
def remember(
    what: Annotated[
        list[str],
        typer.Argument(
            help="Texts, files or folders: .txt, .md, .jsonl, .pdf, pictures, sounds; - for standard input."
        ),
    ],
    folder: Folder = None,
    namespace: Annotated[str, typer.Option(help="The part of the store.")] = "default",
    key: Annotated[
        str | None, typer.Option(help="Names a fact; a newer text of that key supersedes it.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from; default: the file.")] = None,
    embedder: EmbedderName = None,
    tags: Tags = None,
    as_json: AsJson = False,
) -> None:
    """Remember texts and files; what is known already is left as it is, so that it may be called again."""
    given = {"namespace": namespace, "key": key, "source": source, "tags": tags}
    chosen = {name: value for name, value in given.items() if value}
    if not all(one.strip() for one in what):
        raise ValueError("there is nothing to remember in an empty text; give a text, a file or a folder")
    entries = (fields | chosen for one in what for fields in pieces(one))
    if key is not None and len(several := [*islice(entries, 2)]) > 1:
        raise ValueError("--key names one fact, and there are several; give one text")
    ids, known = list[str](), 0
    with memory_in(folder, embedder) as store:
        for some in batches(several if key is not None else entries):
            fresh = some if key is not None else [one for one in some if store.known(one) is None]
            known += len(some) - len(fresh)
            ids += store.add_many(fresh)
            if len(some) == AT_ONCE:
                note(f"{len(ids)} remembered, {known} known already")
    if as_json:
        return put_json({"ids": ids, "known": known})
    for id in ids:
        put_line(id)
    if known:
        note(f"{known} known already")


def batches(entries: Iterable[dict[str, Any]]) -> Iterator[list[Entry]]:
    """Entries by transactions: not too many, and not too large."""
    from ..memory.record import Entry

    gathered, size = list[Entry](), 0
    for one in map(Entry.of, entries):
        gathered.append(one)
        size += sum(len(data) for _, data in one.parts().values())
        if len(gathered) == AT_ONCE or size > LARGEST:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered


@app.command()
def recall(
    query: Annotated[str, typer.Argument(help="What to look for; - for standard input.")],
    folder: Folder = None,
    namespace: Namespace = None,
    tags: Tags = None,
    top_k: Annotated[int, typer.Option("--top-k", "-n", help="Most memories to show.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Find memories, the best first."""
    query = filled(query, "query")
    with memory_in(there(folder)) as store:
        hits = store.search(query, top_k, where_of(namespace, tags))
    for one in hits.notes:
        note(f"note: {one}")
    if as_json:
        return put_json([hit.to_json() for hit in hits])
    for hit in hits:
        put_line(line_of(hit.memory))
    if not hits:
        note(f"nothing is remembered that has to do with {shortened(query)!r}")


@memories.command("list")
def list_(
    folder: Folder = None,
    namespace: Namespace = None,
    tags: Tags = None,
    source: Annotated[str | None, typer.Option(help="Only what comes from here.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="Most memories to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List memories, the newest first."""
    with storage(folder) as store:
        found = store.list(where_of(namespace, tags, source), limit)
    if as_json:
        return put_json([one.to_json() for one in found])
    for one in found:
        put_line(line_of(one))


@memories.command()
def show(id: Id, folder: Folder = None, as_json: AsJson = False) -> None:
    """Show a memory and its history."""
    with storage(folder) as store:
        history = [one.to_json() for one in store.history(store.resolve(id))]
    if as_json:
        return put_json(history)
    for one in history:
        table(
            f"version {one['version']}",
            {name: value for name, value in one.items() if value not in (None, [])},
        )


@memories.command()
def edit(
    id: Id,
    text: Annotated[str, typer.Argument(help="The new text; - for standard input.")],
    folder: Folder = None,
) -> None:
    """Change a text; the old version is kept."""
    with memory_in(there(folder)) as store:
        put_line(store.edit(store.resolve(id), text=read_stdin_for(text)))


@memories.command()
def forget(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, or their beginnings.")] = None,
    folder: Folder = None,
    namespace: Namespace = None,
    tags: Tags = None,
    source: Annotated[str | None, typer.Option(help="All that comes from here.")] = None,
    erase: Annotated[
        bool, typer.Option("--erase", help="Remove the bytes, too; that cannot be undone.")
    ] = False,
) -> None:
    """Forget memories, by id or all that fit."""
    with storage(folder) as store:
        wanted = [store.resolve(id) for id in ids] if ids else None
        gone = store.forget(wanted, where=where_of(namespace, tags, source), erase=erase)
    for id in gone:
        put_line(id)
    note(f"{len(gone)} {'erased' if erase else 'forgotten; `memories undo` brings them back'}")


@memories.command()
def undo(
    id: Annotated[str | None, typer.Argument(help="A memory; default: all of the last operation.")] = None,
    folder: Folder = None,
) -> None:
    """Take back the last change."""
    with storage(folder) as store:
        for one in store.undo(None if id is None else store.resolve(id)):
            put_line(one)


@memories.command()
def export(
    path: Annotated[Path, typer.Argument(help="A file that ends in .jsonl or .parquet.")],
    folder: Folder = None,
    namespace: Namespace = None,
    tags: Tags = None,
) -> None:
    """Write memories to a file."""
    with storage(folder) as store:
        note(f"{store.export(path, where_of(namespace, tags))} memories written to {path}")


@memories.command()
def load(path: Annotated[Path, typer.Argument(help="What export wrote.")], folder: Folder = None) -> None:
    """Remember all of an exported file."""
    with memory_in(folder) as store:
        note(f"{len(store.load(path))} memories read from {path}")


@memories.command()
def embed(folder: Folder = None, embedder: EmbedderName = None) -> None:
    """Make the vectors that are missing; may be interrupted and called again."""
    with memory_in(there(folder), embedder) as store:
        note(f"{store.embed()} memories have got a vector")


@memories.command()
def stats(folder: Folder = None, as_json: AsJson = False) -> None:
    """Count what is there."""
    with storage(folder) as store:
        found = store.stats()
    put_json(found) if as_json else table("memory", found)


@memories.command()
def verify(folder: Folder = None) -> None:
    """Check every byte that is remembered; exit code 1 if something is damaged."""
    with storage(folder) as store:
        faults = store.verify()
    for fault in faults:
        put_line(str(fault))
    if faults:
        raise typer.Exit(1)
    note("all is as it was written")


@memories.command()
def reembed(embedder: EmbedderName = None, folder: Folder = None) -> None:
    """Make all vectors anew with another embedder; if it is interrupted, call it again."""
    from ..memory.embedders import DEFAULT, embedder_named
    from ..memory.store import ArrowStorage

    with ArrowStorage.reembedded(there(folder), embedder_named(embedder or DEFAULT)) as store:
        note(f"{store.stats()['vectors']} memories have a vector of {store.stats()['embedder']['name']}")


@memories.command()
def compact(folder: Folder = None) -> None:
    """Erase what has expired, and give space back."""
    with storage(folder) as store:
        table("compact", store.compact())


def pieces(what: str) -> Iterator[dict[str, Any]]:
    """Fields of entries: of a file, of all files of a folder that can be read, or of a text.

    Raises:
        ValueError: a file of another kind.
    """
    from ..memory import files

    path = Path(what)
    if len(what) < LONGEST_NAME and path.is_dir():
        found = sorted(
            one for one in path.rglob("*") if one.suffix.lower() in files.ENDINGS and one.is_file()
        )
        if not found:
            raise ValueError(f"{path} has no files that can be remembered: {', '.join(files.ENDINGS)}")
        for one in found:
            try:
                yield from [*files.entries(one)]  # all of a file or nothing
            except (ValueError, OSError, ImportError) as error:
                note(f"left out: {sentence(error)}")
    elif len(what) < LONGEST_NAME and path.is_file():
        yield from files.entries(path)
    elif path.suffix.lower() in files.ENDINGS and not re.search(r"\s", what):
        raise FileNotFoundError(f"there is no file {what}; a text with a space in it is remembered as it is")
    else:
        yield {"text": read_stdin_for(what)}


def where_of(namespace: str | None, tags: list[str] | None, source: str | None = None) -> dict[str, Any]:
    given = {"namespace": namespace, "tags": tags, "source": source}
    return {name: value for name, value in given.items() if value}


def line_of(memory: Memory) -> str:
    """A memory on one line: id, day, text."""
    words = shortened(memory.text or f"[{', '.join(memory.holds) or 'vector'}]")
    return f"{memory.id}  {time.strftime('%Y-%m-%d', time.localtime(memory.time))}  {words}"


def shortened(text: str) -> str:
    """A text on one line, its end left out."""
    words = " ".join(text.split())
    return words if len(words) <= PREVIEW else words[:PREVIEW] + "..."
