"""Films at the speed of life: scenes one after the other, written by Pillow, or by ffmpeg where it is at hand."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imdy_jax.files import replacing
from imdy_jax.report import Progress
from imdy_jax.view.render import EDGE, Play, Scene, add_legend, add_title, picture, prepare

FILM_SUFFIXES = (".webp", ".gif", ".mp4")  # the first two keep the whole film in memory, 0.7 MB a picture of 640 × 360


def film(path: str | Path, scenes: Sequence[Scene], film_fps: float = 15.0, size: tuple[int, int] = (640, 360)) -> None:
    """Write a film of simulated humanoids beside their references, at film_fps pictures of `size` pixels a second.

    The file appears under its name once it is whole.

    Raises:
      ValueError: the suffix is not a film's, there is nothing to encode it with, or a scene's motions differ in length.
    """
    path = Path(path)
    if path.suffix not in FILM_SUFFIXES:
        raise ValueError(f"{path}: cannot write a film as {path.suffix!r}; use one of {', '.join(FILM_SUFFIXES)}")
    if min(size) < 1:
        raise ValueError(f"{path}: size is {size[0]} × {size[1]} pixels, expected more than none; name another")
    if not film_fps > 0 or not scenes:
        raise ValueError(f"{path}: found {len(scenes)} scenes at {film_fps} pictures per second, expected more than 0")
    encoder = find_encoder(path) if path.suffix == ".mp4" else ""
    plays = [prepare(scene) for scene in scenes]
    with replacing(path) as partial, Progress(_count(plays, film_fps), "drawing", "picture") as progress:
        pictures = _pictures(plays, film_fps, size, progress)
        if encoder:
            told = _encode(encoder, partial, pictures, film_fps, size)
            if told:
                raise ValueError(
                    f"{path}: {encoder} could not write the film ({told}); name it .webp to write it without"
                )
        else:
            _save(partial, pictures, _palette(plays, size) if path.suffix == ".gif" else None, film_fps)


def find_encoder(path: str | Path) -> str:
    """The ffmpeg to call: the system's, or the one of the extra `film`; raises ValueError where there is neither."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg
    except ImportError:
        raise ValueError(
            f"{path}: found no ffmpeg, expected one to write .mp4 with; pip install '.[film]', or name the film .webp"
        ) from None
    return imageio_ffmpeg.get_ffmpeg_exe()


def _times(play: Play, film_fps: float) -> np.ndarray:
    return np.arange(0, len(play.centre), play.fps / film_fps).astype(int)


def _count(plays: list[Play], film_fps: float) -> int:
    return sum(len(_times(play, film_fps)) for play in plays)


def _pictures(plays: list[Play], film_fps: float, size: tuple[int, int], progress: Progress) -> Iterator[Image.Image]:
    for play in plays:
        for t in _times(play, film_fps):
            yield _captioned(play, t, size)
            progress.advance()


def _captioned(play: Play, t: int, size: tuple[int, int]) -> Image.Image:
    image = picture(play, t, size, error=True)
    add_title(image, play.title)
    add_legend(image, EDGE + 24 if play.title else EDGE, play.arrows is not None)
    return image


def _palette(plays: list[Play], size: tuple[int, int]) -> Image.Image:
    """One palette for all pictures, or flat colours flicker: that of the middle of each scene."""
    middles = [np.asarray(_captioned(play, len(play.centre) // 2, size)) for play in plays]
    return Image.fromarray(np.concatenate(middles)).quantize(256, dither=Image.Dither.NONE)


def _save(path: Path, pictures: Iterator[Image.Image], palette: Image.Image | None, fps: float) -> None:
    if palette is not None:
        pictures = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in pictures)
    frames = list(pictures)
    shown = np.round(100 * np.arange(len(frames) + 1) / fps) * 10  # ms; GIF counts in hundredths of a second
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=np.diff(shown).astype(int).tolist(), loop=0)


def _encode(encoder: str, path: Path, pictures: Iterator[Image.Image], fps: float, size: tuple[int, int]) -> str:
    """Pictures through a pipe into H.264, a pixel wider or higher where a side is odd; why not, where it fails."""
    command = [
        encoder, "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}",
        "-r", str(fps), "-i", "-", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264", "-crf", "18",
        "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path),
    ]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        whole = False
        with contextlib.suppress(BrokenPipeError):  # the encoder has given up, and says why
            for image in pictures:
                process.stdin.write(image.tobytes())
            process.stdin.close()
            whole = True
        said = process.stderr.read().decode(errors="replace").strip()
    return "" if whole and not process.returncode else said or "it ended early and did not say why"
