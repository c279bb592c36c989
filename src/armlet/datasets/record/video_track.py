"""One camera of one episode: its pictures wait in a queue and become a video in a thread."""

from __future__ import annotations

import threading
from pathlib import Path

from armlet.datasets.format.errors import VideoError
from armlet.datasets.format.pictures import Developed, Developer, Picture, as_bytes, is_rgb
from armlet.datasets.format.stats import LevelCounts, Stats
from armlet.datasets.format.video import Encoder, Format

from .appendable_mp4 import AppendableMp4
from .picture_queue import JPEG, RGB, PictureQueue, Shot


class VideoTrack:
    """Takes pictures without ever waiting for the encoder, and loses none.

    What goes wrong in the thread is raised by the next `put` or by `finish`.
    """

    def __init__(self, folder: Path, name: str, form: Format, memory_bytes: int):
        self.video = folder / f"{name}.mp4"
        self.form = form
        self.queue = PictureQueue(folder, name, memory_bytes)
        self._put = 0
        self._error: Exception | None = None
        self._aborted = False
        self._counts = LevelCounts(folder / f"{name}.counts", form.height, form.width)
        try:
            self._file = AppendableMp4(self.video, form)
        except BaseException:
            self._counts.close()
            raise
        self._thread = threading.Thread(target=self._run, name=f"encode {name}", daemon=True)
        self._thread.start()

    @property
    def damaged(self) -> list[int]:
        """Pictures of which only a part could be decoded."""
        return list(self._file.damaged)

    def put(self, picture: Picture) -> None:
        """Queue a copy of one picture. Raises VideoError, or OSError where the disk is full."""
        self._raise_error()
        if not self._thread.is_alive():
            raise VideoError(f"{self.video.name} is closed")
        self.queue.put(RGB if is_rgb(picture) else JPEG, as_bytes(picture))
        self._put += 1

    def sync(self) -> None:
        """Wait until what is encoded is on disk, and let go of the pictures it was made from."""
        encoded = self._file.pictures
        self._file.sync()
        self.queue.release(encoded)
        if self.queue.queued > self.form.fps:
            # A second and more behind: what waits is worth the disk's time too.
            self.queue.sync()

    def end(self) -> None:
        """Nothing more comes; encoding goes on."""
        self.queue.end()

    def finish(self, rows: int) -> Stats:
        """Close the video and return its pictures' statistics. May be called again.

        Raises VideoError if anything failed, or if the file does not hold every row's picture.
        """
        self.end()
        self._thread.join()
        self._raise_error()
        counts = (self._put, self._file.pictures, self._counts.pictures)
        if counts != (rows, rows, rows):
            raise VideoError(
                f"{self.video.name}: {rows} rows, {counts[0]} pictures went in, {counts[1]} are "
                f"in the file, {counts[2]} in the statistics; discard this episode"
            )
        self._file.close()
        return self._counts.stats()

    def abort(self) -> None:
        """Stop without finishing; the files are left as they are. May be called again."""
        self._aborted = True
        self.queue.drop()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Close the files of a track whose thread has ended."""
        self.queue.close()
        self._file.abandon()
        self._counts.close()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise VideoError(f"encoding {self.video.name} failed: {self._error}") from self._error

    def _run(self) -> None:
        try:
            self._encode()
        except Exception as error:  # whatever it was, the caller must hear of it
            self._error = error

    def _encode(self) -> None:
        encoder = Encoder(self.form)
        developer = Developer(self.form.height, self.form.width)
        self._file.begin(encoder.description)
        while (shot := self.queue.take()) is not None and not self._aborted:
            made = develop(developer, shot)
            if made.damaged:
                self._file.damaged.append(shot.number)
            self._counts.add(made.levels)
            self._file.add(encoder.encode(made.frame))
        if not self._aborted:
            self._file.add(encoder.encode(None))


def develop(developer: Developer, shot: Shot) -> Developed:
    """A queued picture for encoder and statistics. Raises VideoError naming the picture."""
    try:
        return developer.raw(shot.content) if shot.kind == RGB else developer.jpeg(shot.content)
    except VideoError as error:
        raise VideoError(f"picture {shot.number}: {error}") from error
