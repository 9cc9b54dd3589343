#!/bin/sh
# Makes an authority (authority/ca.key, certs/ca.crt) and for each node its key and certificate (certs/es1, es2, es3; names:
# the node's, localhost, and what is given; 825 days). Run again, it renews the nodes' and leaves the authority as it is.
# usage: certificates.sh [DNS:name | IP:address]...      Keep authority/ off the hosts afterwards.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p authority certs
more=""
for name in "$@"; do more="$more,$name"; done
new() {
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "$@"
}

# Strict verification (Python 3.13 and later) asks for the key usage of an authority and for both key identifiers.
[ -f authority/ca.key ] ||
  new -x509 -keyout authority/ca.key -out certs/ca.crt -days 3650 -subj "/CN=Jianmen CA" -addext "keyUsage=critical,keyCertSign,cRLSign"
for node in es1 es2 es3; do
  mkdir -p "certs/$node"
  new -keyout "certs/$node/node.key" -out authority/node.csr -subj "/CN=$node"
  cat >authority/node.ext <<EXTENSIONS
subjectAltName=DNS:$node,DNS:localhost,IP:127.0.0.1$more
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EXTENSIONS
  openssl x509 -req -in authority/node.csr -CA certs/ca.crt -CAkey authority/ca.key -CAcreateserial -CAserial authority/ca.srl \
    -out "certs/$node/node.crt" -days 825 -extfile authority/node.ext
  cp certs/ca.crt "certs/$node/ca.crt"
done
rm authority/node.csr authority/node.ext

# The nodes run as uid 1000, group 0, and each is given its own folder only.
chmod 755 certs certs/es?
chmod 644 certs/ca.crt certs/es?/*.crt
chmod 640 certs/es?/node.key
if [ "$(id -u)" != 1000 ] && ! chgrp 0 certs/es?/node.key 2>/dev/null; then
  echo "now run: sudo chgrp 0 $PWD/certs/es?/node.key      (the nodes run in group 0 and must read them)" >&2
fi
