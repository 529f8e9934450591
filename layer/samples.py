"""Creates samples for the decoders that have no free encoder: one keyframe each, written bit by bit.

    samples.py FOLDER    writes them as files, for inspection

Each frame consists of blocks of one color, so it needs only headers and DC coefficients; VP6 uses an arithmetic code in
which any bytes are a valid frame. The containers are written here too. verify decodes the samples, and compares the output
with that of the system's ffmpeg.
"""

import struct
import sys
from pathlib import Path


class BitWriter:
    """Bits, most significant first."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, *fields: tuple[int, int] | str) -> "BitWriter":
        """Adds fields: a number and its width, or digits."""
        self.text += "".join(field if isinstance(field, str) else f"{field[0]:0{field[1]}b}" for field in fields)
        return self

    def bytes(self, stop: str = "") -> bytes:
        text = self.text + stop
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


class PseudoRandom:
    """A deterministic number generator."""

    def __init__(self, seed: int) -> None:
        self.state = seed

    def next_below(self, limit: int) -> int:
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 16) % limit


def h263i() -> tuple[int, int, bytes]:
    """Intel's H.263: H.263 macroblocks with a different header. 128x96."""
    noise = PseudoRandom(1)
    bits = BitWriter().put((0x20, 22), (0, 8), "1", "0", "000", (1, 3), "0", "0000", (5, 5), "0", "0")
    for _ in range(8 * 6):
        # MCBPC and CBPY: intra, only DC.
        bits.put("1", "0011")
        for block in range(6):
            value = 20 + noise.next_below(100) if block < 4 else 90 + noise.next_below(70)
            bits.put((255 if value == 128 else value, 8))
    return 128, 96, bits.bytes()


def msmpeg4v1() -> tuple[int, int, bytes]:
    """Microsoft's MPEG-4 version 1, which has no encoder: H.263 macroblocks, each DC coded as a difference."""
    # MPEG-4's codes for the number of bits of a difference, inverted.
    luma, chroma = ("100", "00", "01", "101", "110"), ("00", "01", "10", "110", "1110")
    noise = PseudoRandom(2)
    bits = BitWriter().put((0x100, 32), (0, 5), (0, 2), (6, 5), (4, 5))
    last = [128, 128, 128]
    for _ in range(4 * 4):
        bits.put("1", "0011")
        for block in range(6):
            plane = max(0, block - 3)
            difference = noise.next_below(31) - 15 if 30 < last[plane] < 220 else (128 - last[plane]) // 8
            last[plane] += difference
            size = abs(difference).bit_length()
            bits.put((chroma if plane else luma)[size])
            if size:
                bits.put((difference if difference > 0 else difference + (1 << size) - 1, size))
    # Frame rate, and bit rate in kilobits.
    return 64, 64, bits.put((10, 5), (64, 11)).bytes()


# DC differences from 0 to 7 in VC-1's first table for luma; 0 in its table for chroma.
VC1_LUMA = ("1", "01", "0001", "00001", "00101", "00111", "001000", "001100")
VC1_CHROMA_0 = "00"


def vc1_macroblocks(bits: BitWriter, seed: int) -> None:
    noise = PseudoRandom(seed)
    for _ in range(4 * 4):
        # Only DC coded; no AC prediction.
        bits.put("1", "0")
        for block in range(6):
            if block >= 4:
                bits.put(VC1_CHROMA_0)
                continue
            difference = noise.next_below(8)
            bits.put(VC1_LUMA[difference])
            if difference:
                bits.put((noise.next_below(2), 1))


def wmv3() -> tuple[int, int, bytes, bytes]:
    """Windows Media 9: VC-1 simple profile."""
    header = BitWriter().put("00", "0", "0", (3, 3), (4, 5), "0", "0", "0", "1", "1", "0", "00", "0", "0", "0", "0", "0", "000",
                        "11", "0", "1")
    bits = BitWriter().put("00", "0", (0, 7), (10, 5), "0", "0", "0")
    vc1_macroblocks(bits, 3)
    return 64, 64, bits.bytes(), header.bytes()


def vc1() -> tuple[int, int, bytes, bytes]:
    """VC-1 advanced profile, with start codes."""
    sequence = BitWriter().put("11", (1, 3), (1, 2), (3, 3), (4, 5), "0", (31, 12), (31, 12), "0", "0", "0", "0", "1", "0", "0",
                          "0")
    entry = BitWriter().put("0", "1", "0", "0", "0", "0", "0", "00", "0", "0", "11", "0", "0", "0")
    # A plane of prediction flags written per macroblock: mode 0.
    bits = BitWriter().put("110", "1", (10, 5), "0", "0000", "0", "0", "0")
    vc1_macroblocks(bits, 4)
    part = lambda code, content: b"\0\0\1" + bytes([code]) + escape_start_codes(content.bytes("1"))  # noqa: E731
    header = part(0x0F, sequence) + part(0x0E, entry)
    return 64, 64, part(0x0D, bits), header


def escape_start_codes(content: bytes) -> bytes:
    """Inserts escape bytes, so that the content contains no start code."""
    out = bytearray()
    for byte in content:
        if byte <= 3 and out[-2:] == b"\0\0":
            out.append(3)
        out.append(byte)
    return bytes(out)


def vp6(seed: int = 5) -> tuple[int, int, bytes]:
    """VP6: quantizer 40, version 6.2, equal stored and displayed sizes; the rest is arithmetic code.

    With most seeds, some coefficients exceed the range of real encoders: SSE2 saturates at the maximum there, while plain C,
    and therefore arm64, wraps around to the minimum. With seeds 5 and 11 both give the same result.
    """
    noise = PseudoRandom(seed)
    return 64, 64, bytes([40 << 1, 0x46, 4, 4, 4, 4]) + bytes([0]) + bytes(noise.next_below(256) for _ in range(4000))


def vp6a() -> tuple[int, int, bytes]:
    """VP6 with a second frame for transparency after the first."""
    color, alpha = vp6(5)[2], vp6(11)[2]
    return 64, 64, len(color).to_bytes(3, "big") + color + alpha


def svq3() -> tuple[int, int, bytes, bytes]:
    """Sorenson 3: 16x16-predicted macroblocks, each with the DC of its sixteen blocks."""
    def golomb(value: int) -> str:
        """Exponential Golomb code, its bits interleaved."""
        return "".join(f"0{bit}" for bit in f"{value + 1:b}"[1:]) + "1"

    noise = PseudoRandom(8)
    sequence = BitWriter().put("111", (64, 12), (64, 12), "1", "1", "0000", "1", "0", "0", "0").bytes()
    # An intra frame, quantizer 31.
    bits = BitWriter().put(golomb(2), "0", (0, 8), (31, 5), "0", "0", "0", "00", "0")
    for _ in range(4 * 4):
        bits.put(golomb(1), golomb(0))
        for _ in range(1 + noise.next_below(4)):
            # A level from 1 to 4 directly after the previous one, and its sign.
            bits.put(golomb(2 * (1, 4, 8, 15)[noise.next_below(4)] - noise.next_below(2)))
        bits.put(golomb(0))
    content = bits.bytes()
    return 64, 64, bytes([0x21, len(content)]) + content, b"SEQH" + struct.pack(">I", len(sequence)) + sequence + bytes(4)


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def avi(code: bytes, width: int, height: int, frame: bytes, extra: bytes = b"", frames: int = 3) -> bytes:
    """An AVI file with the same frame repeated."""
    strh = struct.pack("<4s4sIHHIIIIIIIIHHHH", b"vids", code, 0, 0, 0, 0, 1, 10, 0, frames, len(frame), 0, 0, 0, 0, width,
                       height)
    strf = struct.pack("<IiiHH4sIiiII", 40 + len(extra), width, height, 1, 24, code, width * height * 3, 0, 0, 0, 0) + extra
    avih = struct.pack("<14I", 100000, 0, 0, 0x10, frames, 0, 1, len(frame), width, height, 0, 0, 0, 0)
    stream = chunk(b"LIST", b"strl" + chunk(b"strh", strh) + chunk(b"strf", strf))
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", avih) + stream)
    index = b"".join(struct.pack("<4sIII", b"00dc", 0x10, 4 + n * (8 + len(frame) + len(frame) % 2), len(frame))
                     for n in range(frames))
    return chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", b"movi" + chunk(b"00dc", frame) * frames) + chunk(b"idx1", index))


def flv(codec: int, frame: bytes, frames: int = 3) -> bytes:
    out = b"FLV\1\1" + struct.pack(">II", 9, 0)
    for n in range(frames):
        # A keyframe; a byte with the size of the cropping.
        content = bytes([0x10 | codec, 0]) + frame
        tag = b"\x09" + len(content).to_bytes(3, "big") + (n * 100).to_bytes(3, "big") + bytes(4) + content
        out += tag + struct.pack(">I", len(tag))
    return out


def build_samples() -> dict[str, tuple[str, bytes]]:
    """Maps each decoder to its demuxer and a sample file."""
    return {
        "h263i": ("avi", avi(b"I263", *h263i())),
        "msmpeg4v1": ("avi", avi(b"MPG4", *msmpeg4v1())),
        "wmv3": ("avi", avi(b"WMV3", *wmv3())),
        "vc1": ("avi", avi(b"WVC1", *vc1())),
        "vp6": ("avi", avi(b"VP62", *vp6())),
        "vp6f": ("flv", flv(4, vp6()[2])),
        "vp6a": ("flv", flv(5, vp6a()[2])),
        "svq3": ("avi", avi(b"SVQ3", *svq3())),
    }


if __name__ == "__main__":
    for decoder, (demuxer, content) in build_samples().items():
        (Path(sys.argv[1]) / f"{decoder}.{demuxer}").write_bytes(content)
