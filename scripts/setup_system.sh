#!/usr/bin/env bash
# Install the system packages the tests need, where we may; otherwise say in one line what is missing and fail.
# Usage: scripts/setup_system.sh             what the tests need: Java 17+ and Maven (Kafka), Redis, Alertmanager, promtool,
#                                            systemd-analyze, faketime
#        scripts/setup_system.sh PACKAGE...  these Debian packages
# Does nothing, quickly, when everything is there.
set -euo pipefail

has_java() {
    local major
    major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
    [[ -n "$major" && "$major" -ge 17 ]]
}

java_package() { # Debian 12 has 17; later releases have only a newer one
    if [[ -n "$(apt-cache madison openjdk-17-jre-headless 2>/dev/null)" ]]; then
        echo openjdk-17-jre-headless
    else
        echo default-jre-headless
    fi
}

missing_packages() {
    has_java || java_package
    command -v mvn >/dev/null || echo maven
    command -v redis-server >/dev/null || echo redis-server
    command -v prometheus-alertmanager alertmanager >/dev/null || echo prometheus-alertmanager
    command -v promtool >/dev/null || echo prometheus
    command -v openssl >/dev/null || echo openssl
    if [[ "$(uname -s)" == Linux ]]; then
        command -v systemd-analyze >/dev/null || echo systemd
        command -v faketime >/dev/null || echo faketime
    fi
}

root=()
[[ "$(id -u)" == 0 ]] || root=(sudo -n)

may_install() {
    command -v apt-get >/dev/null && "${root[@]}" true 2>/dev/null
}

if (($# == 0)); then
    mapfile -t packages < <(missing_packages)
else
    packages=("$@")
fi
((${#packages[@]})) || exit 0
if ! may_install; then
    echo "please install first (Debian names; no right to do it from here): ${packages[*]}" >&2
    exit 1
fi
echo "installing ${packages[*]}"
"${root[@]}" apt-get update -qq
if (($# == 0)); then
    mapfile -t packages < <(missing_packages) # the lists may have been empty: choose the Java package again
fi
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
