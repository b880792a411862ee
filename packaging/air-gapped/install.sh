#!/bin/sh
# Install crosscam from this folder, on a machine without a network.
#
#   ./install.sh [--prefix /opt/crosscam] [--python python3] [--signers FILE [--identity NAME]] [--unsigned]
#
# Nothing is installed, and nothing of this folder is run, before every file agrees with SHA256SUMS
# and, where there is SHA256SUMS.sig, the signature with a key of FILE (lines as ssh-keygen's
# ALLOWED SIGNERS: "release@example.com ssh-ed25519 AAAA…"), which must not come with this folder.
# --unsigned: do without the signature that is there.
#
# PREFIX/releases/ID   one release, whole      PREFIX/current      the release in use
# PREFIX/bin/crosscam  the command             PREFIX/models       your own models, before those that came along
#
# A release is taken into use only when `crosscam doctor` is content with it; the one before stays.
# Exit status: 2 wrong flags, 3 a folder that cannot be trusted or used here, 4 installation failed.
set -eu

prefix=/opt/crosscam
python=python3
signers=''
identity=release@crosscam
unsigned=''

usage() {
  sed -n '2,/^set -eu/{/^#/s/^# \{0,1\}//p;}' "$0"
  exit "$1"
}
refuse() { # STATUS FOUND EXPECTED FIX
  printf 'found: %s\nexpected: %s\nfix: %s\nnothing was installed\n' "$2" "$3" "$4" >&2
  exit "$1"
}

while [ $# -gt 0 ]; do
  case $1 in
    --prefix | --python | --signers | --identity)
      [ $# -ge 2 ] || usage 2 >&2
      case $1 in
        --prefix) prefix=$2 ;;
        --python) python=$2 ;;
        --signers) signers=$2 ;;
        --identity) identity=$2 ;;
      esac
      shift 2
      ;;
    --unsigned) unsigned=1 && shift ;;
    -h | --help) usage 0 ;;
    *) usage 2 >&2 ;;
  esac
done
case $prefix in
  /*) ;;
  *) refuse 2 "--prefix $prefix" 'an absolute path' 'give the whole path' ;;
esac
case $prefix in
  *[!A-Za-z0-9/._-]*) refuse 2 "--prefix $prefix" 'letters, digits and /._- only' 'choose another folder' ;;
esac
if [ -n "$signers" ]; then
  [ -f "$signers" ] || refuse 2 "no file $signers" 'the keys that may sign releases' 'bring it on another way than this folder'
  signers=$(cd "$(dirname "$signers")" && pwd)/$(basename "$signers")
fi
cd "$(dirname "$0")"
here=$(pwd -P)

# 1. Trust: the signature, the sums, and nothing beside them.
[ -f SHA256SUMS ] || refuse 3 "no SHA256SUMS in $here" 'a folder made by packaging/air-gapped/wheelhouse.py' 'copy it again, whole'
if [ -n "$signers" ]; then
  [ -f SHA256SUMS.sig ] || refuse 3 'no SHA256SUMS.sig' "a signature, as --signers was given" 'get the signed release'
  ssh-keygen -Y verify -f "$signers" -I "$identity" -n crosscam -s SHA256SUMS.sig <SHA256SUMS >/dev/null 2>&1 \
    || refuse 3 'a SHA256SUMS.sig that is not of this SHA256SUMS' "one by $identity with a key of $signers" 'do not use this folder; get the release again'
  echo "signature: by $identity"
elif [ -f SHA256SUMS.sig ] && [ -z "$unsigned" ]; then
  refuse 3 'a signed release, and no key to check it with' '--signers FILE' 'give it, or --unsigned to do without'
fi
odd=$(find . ! -type f ! -type d | head -n 1)
[ -z "$odd" ] || refuse 3 "$odd, which is neither a file nor a folder" 'plain files' 'do not use this folder; copy it again'
listed=$(sed -n 's/^[0-9a-f]\{64\}  //p' SHA256SUMS | LC_ALL=C sort)
there=$(find . -type f ! -path ./SHA256SUMS ! -path ./SHA256SUMS.sig | sed 's|^\./||' | LC_ALL=C sort)
if [ "$listed" != "$there" ]; then
  refuse 3 'files that SHA256SUMS does not list, or lists and that are missing' "the $(printf '%s\n' "$listed" | wc -l) files listed" 'do not use this folder; copy it again'
fi
bad=$(sha256sum --check --strict --quiet SHA256SUMS 2>/dev/null) \
  || refuse 3 "${bad:-a SHA256SUMS that cannot be read}" 'every file as it was released' 'do not use this folder; copy it again'
echo "checksums: $(wc -l <SHA256SUMS) files as released"

# 2. Does it fit this machine?
command -v "$python" >/dev/null || refuse 3 "no $python" 'the Python that the release was made for' 'install it, or name it with --python'
"$python" - <<'END' || refuse 3 'a Python or processor this release was not made for' 'see above' 'make the release for it, or name another Python with --python'
import json, platform, sys

release = json.load(open("release.json"))
found = f"{sys.version_info[0]}.{sys.version_info[1]}", platform.machine()
wanted = release["python"], release["machine"]
if found != wanted:
    sys.exit(f"this is Python {found[0]} on {found[1]}, the release is for Python {wanted[0]} on {wanted[1]}")
END

# 3. Install it whole, beside what is there.
version=$("$python" -c 'import json; print(json.load(open("release.json"))["version"])')
id=$version-$(sha256sum SHA256SUMS | cut -c 1-12)
target=$prefix/releases/$id
if [ -e "$target/complete" ]; then
  echo "release $id is installed already"
else
  rm -rf "$target"
  trap 'rm -rf "$target"' EXIT
  trap 'exit 130' INT TERM HUP
  mkdir -p "$prefix/releases" "$prefix/bin" "$prefix/models" || refuse 4 "$prefix cannot be written" 'a folder of yours' 'run it as root, or give --prefix'
  "$python" -m venv --without-pip "$target"
  pip=$(find wheels -name 'pip-*.whl')
  PIP_CONFIG_FILE=/dev/null "$target/bin/python" "$here/$pip/pip" --isolated install --quiet \
    --disable-pip-version-check --no-cache-dir --no-index --find-links wheels --no-deps \
    --only-binary :all: --require-hashes -r requirements.txt || {
    echo "pip failed: $target is removed, what was in use stays" >&2
    exit 4
  }
  mkdir -p "$target/share/crosscam"
  cp -R models "$target/share/crosscam/models"
  cp -R extras "$target/share/crosscam/extras"
  if ! CROSSCAM_MODELS="$prefix/models:$target/share/crosscam/models" "$target/bin/crosscam" doctor; then
    echo "crosscam doctor is not content: $target is removed, what was in use stays" >&2
    exit 4
  fi
  : >"$target/complete"
  trap - EXIT INT TERM HUP
fi

# 4. Take it into use at one stroke.
ln -sfn "releases/$id" "$prefix/current.new"
mv -T "$prefix/current.new" "$prefix/current"
cat >"$prefix/bin/crosscam.new" <<END
#!/bin/sh
export CROSSCAM_MODELS="\${CROSSCAM_MODELS:-$prefix/models:$prefix/current/share/crosscam/models}"
exec "$prefix/current/bin/crosscam" "\$@"
END
chmod 755 "$prefix/bin/crosscam.new"
mv "$prefix/bin/crosscam.new" "$prefix/bin/crosscam"
install -m 755 extras/crosscam-nightly "$prefix/bin/crosscam-nightly"
echo "crosscam $id: $prefix/bin/crosscam"
