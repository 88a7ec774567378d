"""What a job that makes clips prints when it is done."""

from collections import Counter

from raytalk.clips.ledger import Ledger
from raytalk.clips.schema import SPLITS

_MOST_LISTED = 50


def summary(ledger: Ledger, clips: str, more_people: str) -> str:
    """A table by split, a table by reason of rejection, and the rejected material itself.

    more_people: how to get them, for who has too few.
    """
    lines = ["", f"clips in {clips}", f"  {'split':<10}{'clips':>8}{'people':>8}{'files':>8}"]
    for split in SPLITS:
        of_split = [clip for clip in ledger.clips if clip.split == split]
        people, files = {clip.person_id for clip in of_split}, {clip.file for clip in of_split}
        lines.append(f"  {split:<10}{len(of_split):>8}{len(people):>8}{len(files):>8}")
    people, files = {clip.person_id for clip in ledger.clips}, {clip.file for clip in ledger.clips}
    lines.append(f"  {'together':<10}{len(ledger.clips):>8}{len(people):>8}{len(files):>8}")
    missing = {"train", "val"} - {clip.split for clip in ledger.clips}
    if ledger.clips and missing:
        lines.append(
            f"  nobody is left in {' and '.join(sorted(missing))}: {more_people} "
            "(three people are the least for validation)"
        )
    if ledger.rejected:
        reasons = Counter(row["reason"] for row in ledger.rejected)
        lines += ["", "rejected"]
        lines += [f"  {reason:<22}{count:>8}" for reason, count in reasons.most_common()]
        lines.append(f"  {'together':<22}{len(ledger.rejected):>8}")
        ordered = sorted(ledger.rejected, key=lambda row: row["clip_id"])
        lines += [f"  {row['clip_id']}: {row['reason']} ({row['detail']})" for row in ordered[:_MOST_LISTED]]
        if len(ordered) > _MOST_LISTED:
            lines.append(f"  and {len(ordered) - _MOST_LISTED} more in {clips}/rejected")
    return "\n".join(lines)
