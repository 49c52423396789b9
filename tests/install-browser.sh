#!/bin/sh
# Makes sure that there is a Chromium for the tests. Best its headless shell, which needs a third of
# the time: Debian's. Else the machine's own browser, or Playwright's, which brings the shell too.
set -eu
has() { command -v "$1" >/dev/null 2>&1; }
if has chromium-headless-shell; then exit 0; fi
as_root=""
if [ "$(id -u)" -ne 0 ]; then as_root="sudo -n"; fi
if has apt-get && grep -q '^ID=debian' /etc/os-release; then
    echo "Installing Chromium for the tests ..."
    if $as_root apt-get update -qq && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq \
        --no-install-recommends chromium-headless-shell fonts-dejavu-core >/dev/null; then exit 0; fi
fi
for name in chromium chromium-browser google-chrome; do
    if has "$name"; then exit 0; fi
done
"$1/playwright" install --with-deps chromium
