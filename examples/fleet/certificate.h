/* A throw-away certificate authority and a server certificate signed by it, for
 * 127.0.0.1 and localhost. The authority's key is never written. */
#ifndef FLEET_CERTIFICATE_H
#define FLEET_CERTIFICATE_H

#include <cygnet/status.h>

/* Writes the authority (PEM), the server's certificate and its key (mode 0600).
 * Errors: ESTORAGE, ENOSPC, EUNSUPPORTED (mbedTLS refused; its code in detail). */
cygnet_status certificate_make(const char *ca_path, const char *cert_path,
                               const char *key_path, cygnet_error *err);

#endif
