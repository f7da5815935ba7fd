"""What looks like an image: formats that are read and formats that are not, by name and bytes."""

from __future__ import annotations

__all__ = ["FORMATS", "IMAGE_SUFFIXES", "is_image", "unread_format"]

IMAGE_SUFFIXES = frozenset(
    {".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe"}
    | {".jpeg", ".jpf", ".jpg", ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif"}
    | {".tiff", ".webp"}
)
"""Lower-case endings of the files that are taken for images."""

FORMATS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may decode: pixels, and neither programs nor what refers to other files."""

_UNREAD = {
    "JPEG XL": ".jxl",
    "a camera's raw file": ".3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mos .mrw .nef .nrw .orf "
    ".pef .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f",
    "a file of an image editor": ".afphoto .kra .ora .psb .psd .xcf",
    "a vector graphic": ".ai .cdr .emf .eps .ps .svg .svgz .wmf",
    "a document": ".djvu .pdf",
    "a video": ".3gp .avi .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .webm .wmv",
    "a medical or scientific image": ".czi .dcm .dicom .exr .fit .fits .lif .mha .mrxs .nd2 .ndpi "
    ".nii .nii.gz .nrrd .svs .vsi",
    "an image of a format that is seldom used": ".bpg .cur .dds .dib .flif .ico .icns .jng .jxr "
    ".mng .pcx .pfm .pict .qoi .ras .sgi .tga .wdp .xbm .xpm",
}
_ENDINGS = {ending: what for what, endings in _UNREAD.items() for ending in endings.split()}
_FIRST_BYTES = {  # what is not read: where its bytes are, and which
    "a file of an image editor": ((0, b"8BPS"), (0, b"gimp xcf")),
    "JPEG XL": ((0, b"\xff\x0a"), (4, b"JXL ")),
    "a document": ((0, b"%PDF"),),
    "a vector graphic": ((0, b"%!PS"), (0, b"\xc5\xd0\xd3\xc6")),
    "a camera's raw file": ((0, b"FUJIFILMCCD"),),
    "a medical or scientific image": ((128, b"DICM"), (0, b"v/1\x01"), (0, b"SIMPLE  =")),
    "a video": ((0, b"\x1aE\xdf\xa3"), (8, b"AVI ")),
}
_READ_BYTES = {
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "JPEG2000": ((4, b"jP  "),),
    "PNG": ((0, b"\x89PNG\r\n"),),
    "GIF": ((0, b"GIF8"),),
    "TIFF": ((0, b"II*\0"), (0, b"MM\0*")),
    "WEBP": ((8, b"WEBP"),),
}
_HEIF = (b"avi", b"hei", b"hev", b"mif", b"msf")  # brands after "ftyp"; others are of videos


def is_image(name: str) -> bool:
    """Whether a file name is one of an image: its ending says so and it is not hidden."""
    ending = name[name.rfind(".") :].lower()
    return not name.startswith(".") and ending in IMAGE_SUFFIXES


def unread_format(name: str, head: bytes = b"") -> str | None:
    """Why a file that looks like an image is not read, and what to do.

    Parameters
    ----------
    name : str
        Name of the file.
    head : bytes
        Its first bytes, 132 or more, if the name alone does not tell.

    Returns
    -------
    str or None
        None if it looks like no image, or like one that can be read.
    """
    lower = name.lower()
    what = next((what for ending, what in _ENDINGS.items() if lower.endswith(ending)), None)
    what = what or _by_bytes(head, _FIRST_BYTES)
    if what is None and b"<svg" in head:
        what = "a vector graphic"
    format_ = _by_bytes(head, _READ_BYTES)
    if what is None and head[4:8] == b"ftyp":
        what, format_ = (None, "HEIF") if head[8:11] in _HEIF else ("a video", None)
    if what is not None:
        return f"it is {what}, which is not read; convert it to PNG or JPEG"
    if format_ is None:
        return None
    if is_image(name):
        return f"it is {format_}, damaged or of a kind that is not read; convert it to PNG or JPEG"
    return f"it is {format_}, but its name does not end like that of an image; rename it"


def _by_bytes(head: bytes, table: dict[str, tuple[tuple[int, bytes], ...]]) -> str | None:
    found = (
        what for what, marks in table.items() for at, mark in marks if head.startswith(mark, at)
    )
    return next(found, None)
