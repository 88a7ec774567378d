"""The clips folder as a job finds it and as it leaves it."""

from raytalk.clips.contact_sheet import FILE as CONTACT_SHEET
from raytalk.clips.contact_sheet import write_contact_sheet
from raytalk.clips.ledger import REJECTED, Ledger, drop_doubled, resolution_of
from raytalk.clips.schema import SPLITS
from raytalk.clips.summary import summary
from raytalk.errors import SettingsError
from raytalk.storage import Storage, join


def read_whole(clips: Storage) -> Ledger:
    """What the folder holds, after dropping what a killed run left twice."""
    return drop_doubled(clips, Ledger.read(clips))


def check_shares(val_share: float, test_share: float) -> None:
    """Raises SettingsError if next to nobody would be trained on."""
    if val_share + test_share > 0.95:
        raise SettingsError("val_share and test_share leave nobody to train on")


def check_resolution(asked: int, before: Ledger, clips: Storage) -> None:
    """Raises SettingsError if there are clips of another resolution."""
    found = resolution_of(clips, before)
    if found not in (None, asked):
        raise SettingsError(
            f"{clips.uri} holds clips of {found} pixels: give resolution={found} or another clips folder"
        )


def make_ready(clips: Storage) -> None:
    """Raises StorageError if the folder cannot be written to; removes what killed runs had begun to write."""
    probe = f"{REJECTED}/writable"
    clips.write(probe, b"")
    clips.delete(probe)
    for folder in (*SPLITS, REJECTED):
        clips.below(folder).clear_aside()


def say_left_out(before: Ledger, clips: Storage) -> None:
    """Name the damaged files on stdout."""
    for file, why in before.left_out.items():
        print(f"left out: {join(clips.uri, file)} is not a whole Parquet file of clips ({why}): delete it", flush=True)


def report(clips: Storage, more_people: str) -> Ledger:
    """Print what the folder holds now and write the contact sheet.

    more_people: what to do for more of them, for who has too few.
    """
    after = read_whole(clips)
    print(summary(after, clips.uri, more_people), flush=True)
    if write_contact_sheet(clips, after):
        print(f"to look at: {join(clips.uri, CONTACT_SHEET)}", flush=True)
    return after
