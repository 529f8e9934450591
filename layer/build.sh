#!/bin/sh
# Builds the layer's ffmpeg and ffprobe from source: static, hardened, reproducible, and with only the components that
# flags.txt lists with a reason. README.md explains its use.
#
#   layer/build.sh [--arch x86_64|arm64] [--out FOLDER] [--where] [--again] [--keep]
#
# On success, the last line of standard output is the folder that contains bin/ffmpeg, bin/ffprobe,
# glimpse-ffmpeg-layer-ARCH.zip, sbom.cdx.json, licences/, SHA256SUMS and build.log. Progress goes to standard error.
#   --where  print that folder only; the exit status is 1 if it has not been built
#   --again  build even if it exists
#   --keep   keep the folder of objects (FOLDER.work)
# GLIMPSE_FFMPEG_FLAGS holds additional flags for ffmpeg's configure, for measurements: --enable-lto, for example.
# GLIMPSE_JOBS is the number of parallel compilers (default: all processors), GLIMPSE_TOOLS_DIR the cache folder.

set -eu
umask 022
unset CDPATH CFLAGS CXXFLAGS CPPFLAGS LDFLAGS LIBS CPATH LIBRARY_PATH MAKEFLAGS
# A fixed sort order, and the release's time, on every machine. 2026-01-01T00:00:00Z.
export LC_ALL=C TZ=UTC SOURCE_DATE_EPOCH=1767225600

here=$(cd "$(dirname "$0")" && pwd)
arch=$(uname -m)
out=
where=
again=
keep=
while [ $# -gt 0 ]; do
    case $1 in
    --arch) arch=${2:?"--arch needs a value"} && shift ;;
    --out) out=${2:?"--out needs a value"} && shift ;;
    --where) where=yes ;;
    --again) again=yes ;;
    --keep) keep=yes ;;
    -h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) echo "build.sh: unknown argument $1. Try --help." >&2 && exit 2 ;;
    esac
    shift
done

case $arch in
x86_64 | amd64) arch=x86_64 machine=x86_64 triplet=x86_64-linux-gnu ;;
arm64 | aarch64) arch=arm64 machine=aarch64 triplet=aarch64-linux-gnu ;;
*) echo "build.sh: unsupported architecture $arch: use x86_64 or arm64" >&2 && exit 2 ;;
esac
cross=
[ "$(uname -m)" = "$machine" ] || cross=$triplet-

# --- inputs and output folder -----------------------------------------------------------------------------------------

tools=${GLIMPSE_TOOLS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/glimpse}
inputs="build.sh flags.txt sources.txt loopback.c multicall.c pack.py"
compiler=$("${cross}gcc" --version 2>/dev/null | head -n 1) || compiler=absent
# shellcheck disable=SC2086
key=$( (cd "$here" && cat $inputs && echo "$arch $compiler ${GLIMPSE_FFMPEG_FLAGS-default}") | sha256sum | cut -c 1-16)
out=${out:-$tools/ffmpeg-$arch-$key}
if [ -n "$where" ]; then
    echo "$out"
    [ -f "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$key" ]
    exit
fi
if [ -z "$again" ] && [ -f "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$key" ]; then
    echo "$out"
    exit 0
fi

mkdir -p "$out" "$tools/sources"
out=$(cd "$out" && pwd)
# Two builds in one folder would delete each other's files. The lock is released when the process ends.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$out/lock"
    if ! flock -n 9; then
        echo "another build of $out is running; waiting for it" >&2
        flock 9
    fi
    if [ -z "$again" ] && [ -f "$out/stamp" ] && [ "$(cat "$out/stamp")" = "$key" ]; then
        echo "$out"
        exit 0
    fi
fi
(cd "$out" && rm -rf stamp bin licences ./*.zip sbom.cdx.json SHA256SUMS)
work=$out.work
log=$out/build.log
jobs=${GLIMPSE_JOBS:-$(nproc)}
rm -rf "$work"
mkdir -p "$work/bin" "$work/deps/lib/pkgconfig" "$work/deps/include"
: >"$log"

begun=$(date +%s)
watcher=
say() {
    printf '%5d s  %s\n' "$(($(date +%s) - begun))" "$*" >&2
    printf '\n=== %s\n' "$*" >>"$log"
}
# On failure: prints the end of the log and its path.
finish() {
    status=$?
    [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || :
    if [ "$status" -ne 0 ]; then
        tail -n 25 "$log" >&2
        echo "build.sh: the build of $arch failed; the full log is $log" >&2
    fi
    [ -n "$keep" ] || rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# --- tools ------------------------------------------------------------------------------------------------------------

packages=
need() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }
need "${cross}gcc" "$([ -n "$cross" ] && echo "gcc-$triplet" || echo gcc)"
need "${cross}g++" "$([ -n "$cross" ] && echo "g++-$triplet" || echo g++)"
need make make
need python3 python3
need pkg-config pkg-config
need xz xz-utils
need curl curl
if ! command -v ninja >/dev/null 2>&1 || ! command -v meson >/dev/null 2>&1; then
    # Python packages can be installed without root.
    if python3 -m venv "$tools/meson" && "$tools/meson/bin/pip" install --quiet meson==1.12.1 ninja==1.13.0; then
        PATH=$PATH:$tools/meson/bin
    fi >>"$log" 2>&1
fi
need ninja ninja-build
need meson meson
[ "$arch" != x86_64 ] || need nasm nasm
if [ -n "$packages" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "apt-get install$packages"
        # shellcheck disable=SC2086
        { apt-get install -y --no-install-recommends $packages ||
            { apt-get update && apt-get install -y --no-install-recommends $packages; }; } >>"$log" 2>&1
    else
        echo "build.sh: missing packages:$packages" | tee -a "$log" >&2
        exit 1
    fi
fi

# --- sources ----------------------------------------------------------------------------------------------------------

matches() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]; }

# Debian's source archive, through apt with a separate configuration and lists: the machine's are not touched.
# Any release that has a package with exactly this file is accepted. Release dates are not checked, our checksum is.
debian_source() { # package file checksum folder
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    if ! command -v apt-get >/dev/null 2>&1 || ! [ -f "$keyring" ]; then
        return 1
    fi
    # The machine's own mirror; security updates come from another one that does not have these releases.
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/*$') ||
        return 1
    apt=$work/apt
    export APT_CONFIG="$apt/apt.conf"
    if ! [ -d "$apt" ]; then
        mkdir -p "$apt/etc/sources.list.d" "$apt/etc/preferences.d" "$apt/etc/apt.conf.d" "$apt/etc/trusted.gpg.d" \
            "$apt/state/lists/partial" "$apt/cache/archives/partial"
        cat >"$APT_CONFIG" <<END
Dir::Etc "$apt/etc";
Dir::State "$apt/state";
Dir::State::status "/var/lib/dpkg/status";
Dir::Cache "$apt/cache";
Acquire::Check-Valid-Until "false";
APT::Sandbox::User "root";
END
        for suite in sid trixie bookworm; do
            echo "deb-src [signed-by=$keyring] $mirror $suite main"
        done >"$apt/etc/sources.list"
        apt-get update >>"$log" 2>&1 || :
    fi
    version=$(apt-cache showsrc "$1" 2>>"$log" |
        awk -v sum="$3" '$1 == "Version:" { v = $2 } $1 == sum { print v; exit }')
    # Other files of the package may be missing from the mirror, so apt's exit status is not meaningful.
    if [ -n "$version" ]; then
        (cd "$4" && apt-get source --download-only "$1=$version") >>"$log" 2>&1 || :
    fi
    unset APT_CONFIG
    matches "$4/$2" "$3"
}

fetch() { # name version checksum package file addresses...
    name=$1 checksum=$3 package=$4 file=$5 kept=$tools/sources/$1-$2-$5
    shift 5
    if ! matches "$kept" "$checksum"; then
        mkdir -p "$work/download"
        for address; do
            curl --silent --show-error --fail --location --proto '=https' --connect-timeout 10 --max-time 600 \
                --output "$work/download/$file" "$address" >>"$log" 2>&1 || continue
            matches "$work/download/$file" "$checksum" && break
            echo "$address returned a file with another checksum than the pinned one" | tee -a "$log" >&2
        done
        if ! matches "$work/download/$file" "$checksum"; then
            rm -f "$work/download/$file"
            debian_source "$package" "$file" "$checksum" "$work/download" || {
                echo "no source of $name with the pinned checksum found: download it to $kept" | tee -a "$log" >&2
                exit 1
            }
        fi
        mv "$work/download/$file" "$kept.$$"
        mv "$kept.$$" "$kept"
    fi
    mkdir "$work/$name"
    tar -x -f "$kept" -C "$work/$name" --strip-components=1 --no-same-owner
}

say "sources"
while read -r line; do
    # shellcheck disable=SC2086
    case $line in '#'* | '') ;; *) fetch $line ;; esac
done <"$here/sources.txt"

# --- compilers --------------------------------------------------------------------------------------------------------

# Flags are in wrappers, so that no build system can omit one, and no path of this machine appears in the configuration
# that ffmpeg prints.
# - fortify, stack protector, stack clash: a decoder of hostile input must crash rather than be exploited;
# - static-pie, relro, now, separate code: random addresses, and read-only relocations and code;
# - sections and --gc-sections: no unused code;
# - file-prefix-map, build-id, date-time: identical output in every folder, on every day.
flags="-fPIE -fstack-protector-strong -fstack-clash-protection -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3"
flags="$flags -ffunction-sections -fdata-sections -g0 -Werror=date-time -ffile-prefix-map=$work=."
[ "$arch" != arm64 ] || flags="$flags -mbranch-protection=standard"
flags="$flags -static-pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code -Wl,--gc-sections -Wl,--build-id=none"
for pair in cc:gcc c++:g++; do
    printf '#!/bin/sh\nexec %s "$@" %s\n' "$cross${pair#*:}" "$flags" >"$work/bin/glimpse-${pair%%:*}"
done
chmod 755 "$work"/bin/glimpse-*
PATH=$work/bin:$PATH
export PATH PKG_CONFIG_LIBDIR="$work/deps/lib/pkgconfig" PKG_CONFIG_PATH=
deps=$work/deps

# Some systems have a compiler but no static libraries.
printf '#include <string>\nint main(int n, char **) { return static_cast<int>(std::string(n, 0).size()) - 1; }\n' >"$work/try.cc"
glimpse-c++ -O2 -o "$work/try" "$work/try.cc" >>"$log" 2>&1 || {
    echo "build.sh: ${cross}g++ cannot link static programs: install the static C and C++ libraries" \
        "(Debian: libc6-dev and g++; Fedora: glibc-static and libstdc++-static)" | tee -a "$log" >&2
    exit 1
}

pc() { # name version libs
    printf 'Name: %s\nDescription: %s\nVersion: %s\nLibs: %s\nCflags:\n' "$1" "$1" "$2" "$3" >"$deps/lib/pkgconfig/$1.pc"
}

# --- libraries --------------------------------------------------------------------------------------------------------

say "zlib"
(
    cd "$work/zlib"
    # Only decompression: no file access, no compressor.
    for unit in adler32 crc32 inflate inftrees inffast uncompr zutil; do
        glimpse-cc -O3 -DHAVE_HIDDEN -DNO_GZIP -c "$unit.c" -o "$unit.o"
    done
    "${cross}ar" crD "$deps/lib/libz.a" ./*.o
    cp zlib.h zconf.h "$deps/include/"
) >>"$log" 2>&1
pc zlib 1.3.2 -lz

say "zimg"
(
    cd "$work/zimg"
    case $arch in
    x86_64) define="-DZIMG_X86 -DZIMG_X86_AVX512" other=arm ;;
    arm64) define=-DZIMG_ARM other=x86 ;;
    esac
    avx512="-mavx512f -mavx512cd -mavx512vl -mavx512bw -mavx512dq -mtune=skylake-avx512"
    find src/zimg -name '*.cpp' ! -path "*/$other/*" | sort | while read -r unit; do
        case $unit in
        *_avx512_vnni.cpp) simd="$avx512 -mavx512vnni" ;;
        *_avx512.cpp) simd=$avx512 ;;
        *_avx2.cpp) simd="-mavx2 -mf16c -mfma -mtune=haswell" ;;
        *_ivb.cpp) simd="-mavx -mf16c" ;;
        *_avx.cpp) simd=-mavx ;;
        *) simd= ;;
        esac
        object=$(echo "${unit%.cpp}.o" | tr / _)
        echo "glimpse-c++ -std=c++14 -O2 -DNDEBUG $define $simd -fvisibility=hidden -fno-fast-math -ffp-contract=off" \
            "-Isrc/zimg -c $unit -o $object"
    done >commands
    xargs -P "$jobs" -I '{}' sh -c '{}' <commands
    "${cross}ar" crD "$deps/lib/libzimg.a" ./*.o
    cp src/zimg/api/zimg.h "$deps/include/"
) >>"$log" 2>&1
pc zimg 3.0.4 "-lzimg -lstdc++ -lm"

say "dav1d"
(
    cat >"$work/meson.txt" <<END
[binaries]
c = 'glimpse-cc'
ar = '${cross}ar'
strip = '${cross}strip'
nasm = 'nasm'
[host_machine]
system = 'linux'
cpu_family = '$machine'
cpu = '$machine'
endian = 'little'
END
    # A cross file on every machine, so that meson detects nothing from the build machine.
    meson setup "$work/dav1d-build" "$work/dav1d" --cross-file "$work/meson.txt" --prefix "$deps" --libdir lib \
        --buildtype release --default-library static -Db_ndebug=true -Db_pie=true \
        -Denable_tools=false -Denable_tests=false -Dxxhash_muxer=disabled
    ninja -C "$work/dav1d-build" -j "$jobs" install
) >>"$log" 2>&1

# --- ffmpeg -----------------------------------------------------------------------------------------------------------

say "ffmpeg: configure"
enable=$(awk '/^[a-z]/ && $2 !~ /^\+/ {
    split($2, name, "=")
    print ($1 == "library" ? "--enable-" : "--enable-" $1 "=") name[1]
}' "$here/flags.txt" | tr '\n' ' ')
glimpse-cc -O2 -c "$here/loopback.c" -o "$deps/lib/loopback.o" >>"$log" 2>&1
mkdir "$work/ffmpeg-build"
(
    cd "$work/ffmpeg-build"
    [ -z "$cross" ] || set -- --enable-cross-compile
    # The libraries' folder is passed in the linker's own variable and as relative paths: no path of this machine is recorded.
    # shellcheck disable=SC2086
    ../ffmpeg/configure --prefix=/opt --arch="$machine" --target-os=linux "$@" \
        --cc=glimpse-cc --cxx=glimpse-c++ --ar="${cross}ar" --nm="${cross}nm" --ranlib="${cross}ranlib" \
        --strip="${cross}strip" --pkg-config=pkg-config --pkg-config-flags=--static \
        --extra-cflags="-I../deps/include -Dgetaddrinfo=glimpse_getaddrinfo -Dfreeaddrinfo=glimpse_freeaddrinfo -Dgetnameinfo=glimpse_getnameinfo" \
        --extra-ldflags=-L../deps/lib --extra-libs="../deps/lib/loopback.o" \
        --enable-pic --enable-static --disable-shared ${GLIMPSE_FFMPEG_FLAGS-} \
        --disable-everything --disable-autodetect --disable-doc --disable-debug --disable-ffplay --disable-avdevice \
        --disable-swresample --disable-pixelutils --disable-resource-compression --enable-network \
        $enable
) >>"$log" 2>&1 || {
    tail -n 40 "$work/ffmpeg-build/ffbuild/config.log" >>"$log" 2>&1 || :
    exit 1
}

# A variable of ffmpeg's makefile. Only the last line, since the first call also creates files and prints that.
value() {
    make -s -C "$work/ffmpeg-build" --no-print-directory --eval "glimpse-value: ; @echo \$($1)" glimpse-value | tail -n 1
}
# Only the objects and libraries: ffmpeg's own linked programs are not used.
targets="$(value OBJS-ffmpeg) $(value OBJS-ffprobe) $(value FF_DEP_LIBS)"
# shellcheck disable=SC2086
total=$(make -C "$work/ffmpeg-build" --dry-run $targets 2>/dev/null | grep -Ec '^printf "(CC|X86ASM|AS).t') || :
say "ffmpeg: compile $total files"
from=$(wc -l <"$log")
while sleep 20; do
    printf '%5d s  ffmpeg: %d of %d files\n' "$(($(date +%s) - begun))" \
        "$(tail -n "+$from" "$log" | grep -Ec '^(CC|X86ASM|AS)[[:space:]]')" "$total" >&2
done 9>&- &
watcher=$!
# shellcheck disable=SC2086
make -C "$work/ffmpeg-build" -j "$jobs" $targets >>"$log" 2>&1
kill "$watcher" 2>/dev/null || :
watcher=

# Both programs in one file: two files would be twice the size. Each is first linked to one object in which every name except
# its main is local; multicall.c selects one by the name it is called by.
say "ffmpeg: link"
(
    cd "$work/ffmpeg-build"
    for program in ffmpeg ffprobe; do
        # shellcheck disable=SC2046
        "${cross}gcc" -r -nostdlib -O3 -fPIE -flinker-output=nolto-rel -o "$program.o" $(value "OBJS-$program")
        "${cross}objcopy" --redefine-sym "main=${program}_main" --keep-global-symbol "${program}_main" "$program.o"
    done
    glimpse-cc -O2 -c "$here/multicall.c" -o multicall.o
    # shellcheck disable=SC2046
    glimpse-cc $(value LDFLAGS) $(value LDEXEFLAGS) -o multicall multicall.o ffmpeg.o ffprobe.o \
        $(value FF_EXTRALIBS) $(value EXTRALIBS-ffmpeg)
) >>"$log" 2>&1

say "pack"
mkdir "$out/bin"
"${cross}strip" --strip-all -o "$out/bin/ffmpeg" "$work/ffmpeg-build/multicall"
# A hard link here, since some callers resolve symbolic links before running it; a symbolic link in the zip, which has no other.
ln "$out/bin/ffmpeg" "$out/bin/ffprobe"
python3 "$here/pack.py" "$here" "$work" "$out" "$arch" "$compiler" >>"$log" 2>&1
echo "$key" >"$out/stamp"
say "done: $(wc -c <"$out/glimpse-ffmpeg-layer-$arch.zip") bytes"
echo "$out"
