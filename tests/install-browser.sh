#!/bin/sh
# Makes sure that there is a Chromium for the tests: the machine's own, Debian's, or Playwright's.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
as_root=""
if [ "$(id -u)" -ne 0 ]; then as_root="sudo"; fi
if command -v apt-get >/dev/null 2>&1 && grep -q '^ID=debian' /etc/os-release; then
    echo "Installing Chromium for the tests ..."
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends \
        chromium fonts-dejavu-core >/dev/null
else
    "$1/playwright" install --with-deps chromium
fi
