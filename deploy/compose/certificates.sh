#!/bin/sh
# Makes certs/ca.crt and a certificate for each node (names: es1, es2, es3, localhost, and what is given), 825 days.
# usage: certificates.sh [DNS:name | IP:address]...      Keep certs/ca.key off the hosts afterwards.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p certs
cd certs
[ -f ca.key ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -days 3650 -subj "/CN=Jianmen CA"
more=""
for name in "$@"; do more="$more,$name"; done
for node in es1 es2 es3; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$node.key" -out "$node.csr" -subj "/CN=$node"
  printf 'subjectAltName=DNS:%s,DNS:localhost,IP:127.0.0.1%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$node" "$more" >"$node.ext"
  openssl x509 -req -in "$node.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$node.crt" -days 825 -extfile "$node.ext"
  rm "$node.csr" "$node.ext"
done
chmod 644 ./*.crt
chmod 640 es?.key
# The image runs as uid 1000, group 0.
chgrp 0 es?.key 2>/dev/null || echo "let group 0 read es?.key: the nodes run in it" >&2
