"""Get a published data set: an interruptible, checked download, safely unpacked. No torch here."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from davis_exp.data.export import new_folder
from davis_exp.utils.errors import BadInput

# https://davischallenge.org/davis2016/code.html; 480p and 1080p, about 2 GB.
ARCHIVES = {"davis2016": "https://graphics.ethz.ch/Downloads/Data/Davis/DAVIS-data.zip"}

Report = Callable[[int, int | None], None]


def download(
    url: str, folder: str | Path, *, sha256: str | None = None, report: Report = lambda done, total: None
) -> Path:
    """Download a zip archive and unpack it as `folder`.

    The archive grows in `<folder>.download.zip.part` beside the folder. After an interruption the next call
    continues it (by an HTTP Range request; without these it starts over). It is removed once unpacked.

    Args:
        url: of the archive.
        folder: where to; must be empty or not exist. It appears when it is whole.
        sha256: the archive's checksum, checked if given.
        report: called with the bytes done and, if known, of the whole.

    Returns:
        The folder.

    Raises:
        BadInput: the folder is in use, the download failed, or the archive is not the one expected.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # it announces each download, and the checksum to check next time
    folder = Path(folder).expanduser()
    archive = folder.parent / f"{folder.name}.download.zip"
    with new_folder(folder) as new:
        try:
            pooch.retrieve(
                url,
                known_hash=sha256 and f"sha256:{sha256.lower()}",
                fname=archive.name,
                path=archive.parent,
                downloader=_Resumable(archive.with_name(f"{archive.name}.part"), report),
            )
        except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema) as error:
            raise BadInput(f"--url {url}: no address of an archive, as https://host/file.zip") from error
        except (requests.RequestException, OSError) as error:
            why = " ".join(str(error).split())
            raise BadInput(
                f"download of {url} failed ({why}): run the same command to continue it"
            ) from error
        except ValueError as error:  # pooch's word for a wrong checksum
            raise BadInput(f"{url} does not have the checksum {sha256}: check it, or try again") from error
        _unpack(archive, new)
    archive.unlink()
    return folder


class _Resumable:
    """A pooch downloader that keeps what it has in `part` and continues it."""

    def __init__(self, part: Path, report: Report) -> None:
        self.part, self.report = part, report

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        # Compressed transfer would make the bytes counted here differ from those on the server.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=30) as reply:
            total = _total(reply.headers)
            complete = reply.status_code == 416 and total == have
            if reply.status_code == 416 and not complete:
                self.part.unlink()
                raise OSError(f"{self.part} did not fit what the server has and was removed")
            if not complete:
                reply.raise_for_status()
                if reply.status_code != 206:
                    have = 0
                with self.part.open("ab" if have else "wb") as file:
                    for chunk in reply.iter_content(1 << 16):
                        file.write(chunk)
                        have += len(chunk)
                        self.report(have, total)
                if total is not None and have != total:
                    raise OSError(f"the connection ended after {have:,} of {total:,} bytes")
        os.replace(self.part, output_file)


def _total(headers: Any) -> int | None:
    """Size of the whole file: "bytes 5-9/10" or "bytes */10" in a partial answer, else its length."""
    size = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    return int(size) if size.isdigit() else None


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into `folder`, leaving out a single outermost folder. Refuses names that point outside."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            files = [(info, _inside(info.filename)) for info in zipped.infolist() if not info.is_dir()]
            outermost = {path.parts[0] for _, path in files}
            drop = 1 if len(outermost) == 1 and all(len(path.parts) > 1 for _, path in files) else 0
            for info, path in files:
                target = folder.joinpath(*path.parts[drop:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(info) as source, target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
    except zipfile.BadZipFile as error:
        archive.unlink()
        raise BadInput(
            f"{archive} is not a zip archive ({error}) and was removed: download it again"
        ) from error


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or ":" in name:
        raise BadInput(
            f"the archive holds {name!r}, which points outside: it is not the data set, do not use it"
        )
    return path
