/* Names of the status codes. */
#include <cygnet/status.h>

static const char *const names[] = {
    [CYGNET_OK] = "OK",
    [CYGNET_EINVAL] = "EINVAL",
    [CYGNET_ENOMEM] = "ENOMEM",
    [CYGNET_ESTORAGE] = "ESTORAGE",
    [CYGNET_ENOSPC] = "ENOSPC",
    [CYGNET_EBUSY] = "EBUSY",
    [CYGNET_ENOTFOUND] = "ENOTFOUND",
    [CYGNET_EFORMAT] = "EFORMAT",
    [CYGNET_ELIMIT] = "ELIMIT",
    [CYGNET_ESHAPE] = "ESHAPE",
    [CYGNET_EUNSUPPORTED] = "EUNSUPPORTED",
    [CYGNET_EDATA] = "EDATA",
    [CYGNET_ENUMERIC] = "ENUMERIC",
    [CYGNET_ENETWORK] = "ENETWORK",
    [CYGNET_ETLS] = "ETLS",
    [CYGNET_EPROTOCOL] = "EPROTOCOL",
    [CYGNET_ESERVER] = "ESERVER",
    [CYGNET_EREFUSED] = "EREFUSED",
    [CYGNET_EAUTH] = "EAUTH",
    [CYGNET_ETIMEOUT] = "ETIMEOUT",
    [CYGNET_ECANCELLED] = "ECANCELLED",
    [CYGNET_EHASH] = "EHASH",
    [CYGNET_EHOST] = "EHOST",
    [CYGNET_ESTATE] = "ESTATE",
};

const char *cygnet_status_name(cygnet_status status)
{
    if ((unsigned)status >= sizeof(names) / sizeof(names[0]))
        return "UNKNOWN";
    return names[status];
}
