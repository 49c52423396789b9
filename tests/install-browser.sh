#!/bin/sh
# Makes sure that there are browsers for the tests, and a voice: `install-browser.sh FOLDER-OF-PLAYWRIGHT`.
# One is needed: best Chromium's headless shell, which takes a third of the time (Debian's), else the
# machine's own Chromium, or Playwright's. Tests in the others are skipped where they cannot be had.
set -eu
has() { command -v "$1" >/dev/null 2>&1; }
as_root=""
if [ "$(id -u)" -ne 0 ]; then as_root="sudo -n"; fi

is_debian() { has apt-get && grep -q '^ID=debian' /etc/os-release; }
updated=""
install_packages() { # NAME PACKAGE...
    is_debian || return 1
    echo "Installing $1 for the tests ..."
    shift
    if [ -z "$updated" ]; then $as_root apt-get update -qq || return 1; updated=yes; fi
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

needs_chromium() {
    for name in chromium-headless-shell chromium chromium-browser google-chrome; do
        if has "$name"; then return 1; fi
    done
}
if ! has chromium-headless-shell &&
    ! install_packages Chromium chromium-headless-shell fonts-dejavu-core &&
    needs_chromium; then "$1/playwright" install --with-deps chromium; fi

lacking=""
has chromium || has chromium-browser || install_packages "all of Chromium" chromium ||
    lacking="$lacking chromium (Back),"
has firefox-esr || install_packages Firefox firefox-esr || lacking="$lacking firefox-esr,"
{ has WebKitWebDriver && has Xvfb; } || install_packages WebKit webkit2gtk-driver xvfb ||
    lacking="$lacking webkit2gtk-driver and xvfb,"
has espeak-ng || install_packages "a voice" espeak-ng ||
    echo "Tests that need speech are skipped, as espeak-ng can't be installed here."
has ffmpeg || install_packages "a decoder of sound" ffmpeg ||
    echo "Tests of M4A, WEBM and WMA are skipped, as ffmpeg can't be installed here."
if [ -n "$lacking" ]; then
    echo "Tests in these browsers are skipped, as they can't be installed here:${lacking%,}."
fi
