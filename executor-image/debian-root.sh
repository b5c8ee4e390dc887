#!/bin/sh
# Makes the root file system of an image from Debian packages of this system's release: debian-root.sh LIST FOLDER
# LIST names packages, one a line, with all that they depend on; nothing is configured, no script of theirs runs.
set -eu
list=$1
root=$2
packages=$(sed 's/#.*//' "$list")

downloaded=$(mktemp -d)
trap 'rm -rf "$downloaded"' EXIT
# shellcheck disable=SC2086
(cd "$downloaded" && apt-get download -qq -o APT::Sandbox::User=root $packages)

mkdir -p "$root/usr"
for folder in bin sbin lib lib64; do
  mkdir -p "$root/usr/$folder"
  ln -s "usr/$folder" "$root/$folder"
done
for package in "$downloaded"/*.deb; do
  # Licences stay; what a person would read, or another language needs, does not.
  dpkg-deb --fsys-tarfile "$package" | tar --extract --directory "$root" --keep-directory-symlink --no-same-owner \
    --wildcards --exclude './usr/share/man' --exclude './usr/share/info' --exclude './usr/share/locale' \
    --exclude './usr/share/lintian' --exclude './usr/share/doc/*/[!c]*' --exclude './usr/share/doc/*/changelog*' \
    --exclude './usr/lib/*/gconv' --exclude './usr/lib/*/audit' --exclude './usr/lib/*/perl*'
done

# What the packages' scripts would do.
if [ -d "$root/usr/share/ca-certificates" ]; then
  mkdir -p "$root/etc/ssl/certs"
  find "$root/usr/share/ca-certificates" -name '*.crt' | sort | xargs cat >"$root/etc/ssl/certs/ca-certificates.crt"
fi
if [ -e "$root/usr/bin/dash" ]; then ln -sf dash "$root/usr/bin/sh"; fi
if [ -e "$root/usr/bin/mawk" ]; then ln -sf mawk "$root/usr/bin/awk"; fi

mkdir -p "$root/etc" "$root/tmp" "$root/proc" "$root/sys" "$root/dev" "$root/run" "$root/var/tmp"
chmod 1777 "$root/tmp" "$root/var/tmp"
printf '%s\n' 'root:x:0:0:root:/:/sbin/nologin' 'nonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin' >"$root/etc/passwd"
printf '%s\n' 'root:x:0:' 'nonroot:x:65532:' >"$root/etc/group"
printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >"$root/etc/nsswitch.conf"
