"""Packs the output of build.sh reproducibly: license texts, SBOM (CycloneDX 1.5), zip and checksums.

pack.py LAYER WORK OUT ARCH COMPILER: the folder of sources.txt and flags.txt, the folder of the unpacked sources, the
folder that contains bin/, the architecture, and the first line of the compiler's version. Uses only Python's standard
library.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
import zipfile
from pathlib import Path

# The SPDX license of each part, and the files with its text.
LICENCES = {
    "ffmpeg": ("LGPL-2.1-or-later", ["COPYING.LGPLv2.1", "LICENSE.md"]),
    "dav1d": ("BSD-2-Clause", ["COPYING"]),
    "zlib": ("Zlib", ["LICENSE"]),
    "zimg": ("WTFPL", ["COPYING"]),
}

NOTICE = """\
ffmpeg and ffprobe as Glimpse's Lambda layer holds them
=======================================================

Free software under the GNU Lesser General Public License, version 2.1 or later (COPYING.LGPLv2.1): configured without
--enable-gpl, --enable-version3 and --enable-nonfree. FFmpeg is a trademark of Fabrice Bellard; this build is not his.

The sources are these releases, unchanged, and `layer/` of Glimpse: build.sh builds this very binary out of them, or one
with a changed library in it. One file of Glimpse's own is linked in (loopback.c, Apache-2.0): ffmpeg reaches no host
but this machine.

{sources}

Linked in besides, from the system's compiler: the GNU C Library (LGPL-2.1-or-later) and GCC's libgcc and libstdc++
(GPL-3.0 with the GCC Runtime Library Exception). Compiler: {compiler}.
"""


def sources(layer: Path) -> list[dict]:
    """The lines of sources.txt."""
    lines = [line.split() for line in (layer / "sources.txt").read_text().splitlines()]
    names = ("name", "version", "sha256", "package", "file")
    return [dict(zip(names, line)) | {"urls": line[5:]} for line in lines if line and not line[0].startswith("#")]


def licences(layer: Path, work: Path, out: Path, compiler: str) -> None:
    folder = out / "licences"
    folder.mkdir(exist_ok=True)
    for name, (_, files) in LICENCES.items():
        for file in files:
            # Converted to UTF-8: some are Latin-1.
            text = (work / name / file).read_bytes().decode("utf-8", "replace")
            (folder / f"{name}-{file}").write_text(text)
    table = "\n".join(f"{s['name']} {s['version']}\n  {s['urls'][0]}\n  SHA-256 {s['sha256']}" for s in sources(layer))
    (folder / "NOTICE").write_text(NOTICE.format(sources=table, compiler=compiler))


def sbom(layer: Path, out: Path, arch: str, compiler: str) -> dict:
    """The contents, for vulnerability scanners: names, versions, licenses, checksums, and compiled-in components."""
    def component(source: dict) -> dict:
        name, version = source["name"], source["version"]
        vendor = {"ffmpeg": "ffmpeg", "dav1d": "videolan", "zlib": "zlib"}.get(name)
        return {
            "type": "library",
            "bom-ref": f"{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:generic/{name}@{version}?checksum=sha256:{source['sha256']}",
            "licenses": [{"license": {"id": LICENCES[name][0]}}],
            "hashes": [{"alg": "SHA-256", "content": source["sha256"]}],
            "externalReferences": [{"type": "source-distribution", "url": url} for url in source["urls"]],
        } | ({"cpe": f"cpe:2.3:a:{vendor}:{name}:{version}:*:*:*:*:*:*:*"} if vendor else {})

    flags = [line.split(None, 2) for line in (layer / "flags.txt").read_text().splitlines()]
    flags = [line for line in flags if line and not line[0].startswith("#")]
    parts = [component(source) for source in sources(layer)]
    for name, licence in (("glibc", "LGPL-2.1-or-later"), ("gcc-runtime", "GPL-3.0-with-GCC-exception")):
        version = re.search(r"(\d+\.\d+(\.\d+)?)", libc() if name == "glibc" else compiler.split(")")[-1])
        version = version.group(1) if version else "unknown"
        parts.append({
            "type": "library",
            "bom-ref": f"{name}@{version}",
            "name": name,
            "version": version,
            "purl": f"pkg:generic/{name}@{version}",
            "licenses": [{"license": {"id": licence}}],
        })
    files = [
        {"type": "file", "bom-ref": f"bin/{file.name}", "name": f"bin/{file.name}",
         "hashes": [{"alg": "SHA-256", "content": digest(file)}]}
        for file in sorted((out / "bin").iterdir())
    ]
    version = parts[0]["version"]
    root = {
        "type": "application",
        "bom-ref": f"glimpse-ffmpeg-layer@{version}",
        "name": "glimpse-ffmpeg-layer",
        "version": version,
        "licenses": [{"license": {"id": "LGPL-2.1-or-later"}}],
        "properties": [{"name": "glimpse:arch", "value": arch}, {"name": "glimpse:compiler", "value": compiler}]
        + [{"name": f"glimpse:{kind}", "value": name.lstrip("+").split("=")[0]} for kind, name, _ in flags],
    }
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))),
            "component": root,
        },
        "components": parts + files,
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": [part["bom-ref"] for part in parts + files]}],
    }
    # A serial number derived from the document.
    name = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["serialNumber"] = "urn:uuid:" + str(uuid.uuid5(uuid.NAMESPACE_OID, name))
    return document


def libc() -> str:
    """The version of the linked C library, from its header."""
    text = "#include <features.h>\n__GLIBC__.__GLIBC_MINOR__\n"
    lines = subprocess.run(["glimpse-cc", "-E", "-P", "-"], input=text, capture_output=True, text=True).stdout
    return lines.strip().splitlines()[-1].replace(" ", "") if lines.strip() else ""


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def archive(out: Path, arch: str) -> Path:
    """The layer's zip: /opt/bin, license texts and the SBOM. Entries are sorted, with one time and no owner."""
    entries = {f"bin/{file.name}": file for file in (out / "bin").iterdir()}
    entries |= {f"share/glimpse-ffmpeg/licences/{file.name}": file for file in (out / "licences").iterdir()}
    entries["share/glimpse-ffmpeg/sbom.cdx.json"] = out / "sbom.cdx.json"
    path = out / f"glimpse-ffmpeg-layer-{arch}.zip"
    moment = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as layer:
        for name, file in sorted(entries.items()):
            entry = zipfile.ZipInfo(name, moment)
            entry.create_system = 3
            entry.compress_type = zipfile.ZIP_DEFLATED
            if name == "bin/ffprobe":
                # A link to the same file (multicall.c); Lambda keeps symbolic links in layers.
                entry.external_attr = 0o120777 << 16
                layer.writestr(entry, "ffmpeg", zipfile.ZIP_STORED)
            else:
                entry.external_attr = (0o100755 if name.startswith("bin/") else 0o100644) << 16
                layer.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED, 9)
    return path


def main(layer: str, work: str, out: str, arch: str, compiler: str) -> None:
    folder = Path(out)
    licences(Path(layer), Path(work), folder, compiler)
    document = sbom(Path(layer), folder, arch, compiler)
    (folder / "sbom.cdx.json").write_text(json.dumps(document, indent=1) + "\n")
    made = [archive(folder, arch), folder / "bin/ffmpeg", folder / "bin/ffprobe", folder / "sbom.cdx.json"]
    (folder / "SHA256SUMS").write_text("".join(f"{digest(file)}  {file.relative_to(folder)}\n" for file in made))


if __name__ == "__main__":
    main(*sys.argv[1:])
