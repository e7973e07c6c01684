/* X.509 with mbedTLS 2.28 or 3.x: ECDSA P-256, valid from yesterday for a month. */
#include "certificate.h"
#include "complain.h"
#include "file.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/ecp.h>
#include <mbedtls/entropy.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#include <string.h>
#include <time.h>

#define PEM_MAX_BYTES 4096
#define DAY_S 86400L
#define CA_NAME "CN=Cygnet fleet authority"
#define SERVER_NAME "CN=localhost"

/* GeneralNames: DNS localhost, IP 127.0.0.1. Source: RFC 5280, 4.2.1.6. */
static const unsigned char subject_names[] = {0x30, 0x11, 0x82, 0x09, 'l', 'o', 'c',
                                              'a',  'l',  'h',  'o',  's', 't', 0x87,
                                              0x04, 127,  0,    0,    1};

struct maker {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context drbg;
    mbedtls_pk_context ca_key;
    mbedtls_pk_context server_key;
};

static void maker_init(struct maker *m)
{
    mbedtls_entropy_init(&m->entropy);
    mbedtls_ctr_drbg_init(&m->drbg);
    mbedtls_pk_init(&m->ca_key);
    mbedtls_pk_init(&m->server_key);
}

static void maker_clear(struct maker *m)
{
    mbedtls_pk_free(&m->server_key);
    mbedtls_pk_free(&m->ca_key);
    mbedtls_ctr_drbg_free(&m->drbg);
    mbedtls_entropy_free(&m->entropy);
}

static int make_key(mbedtls_pk_context *key, struct maker *m)
{
    int rc = mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));

    if (rc == 0)
        rc = mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key),
                                 mbedtls_ctr_drbg_random, &m->drbg);
    return rc;
}

static int make_keys(struct maker *m)
{
    int rc = mbedtls_ctr_drbg_seed(&m->drbg, mbedtls_entropy_func, &m->entropy, NULL, 0);

    if (rc == 0)
        rc = make_key(&m->ca_key, m);
    if (rc == 0)
        rc = make_key(&m->server_key, m);
    return rc;
}

static int set_validity(mbedtls_x509write_cert *crt)
{
    time_t from = time(NULL) - DAY_S;
    time_t to = from + 31 * DAY_S;
    struct tm utc;
    char not_before[16];
    char not_after[16];

    gmtime_r(&from, &utc);
    strftime(not_before, sizeof(not_before), "%Y%m%d%H%M%S", &utc);
    gmtime_r(&to, &utc);
    strftime(not_after, sizeof(not_after), "%Y%m%d%H%M%S", &utc);
    return mbedtls_x509write_crt_set_validity(crt, not_before, not_after);
}

static int set_serial(mbedtls_x509write_cert *crt, struct maker *m)
{
    unsigned char raw[16];
    int rc = mbedtls_ctr_drbg_random(&m->drbg, raw, sizeof(raw));

    raw[0] = (unsigned char)((raw[0] & 0x7f) | 1); /* positive, not zero */
#if MBEDTLS_VERSION_NUMBER >= 0x03040000
    return rc ? rc : mbedtls_x509write_crt_set_serial_raw(crt, raw, sizeof(raw));
#else
    mbedtls_mpi serial;

    mbedtls_mpi_init(&serial);
    if (rc == 0)
        rc = mbedtls_mpi_read_binary(&serial, raw, sizeof(raw));
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_serial(crt, &serial);
    mbedtls_mpi_free(&serial);
    return rc;
#endif
}

static int set_extensions(mbedtls_x509write_cert *crt, int is_ca)
{
    int rc = mbedtls_x509write_crt_set_basic_constraints(crt, is_ca, is_ca ? 0 : -1);

    if (rc == 0)
        rc = mbedtls_x509write_crt_set_key_usage(crt,
                                                 is_ca
                                                     ? MBEDTLS_X509_KU_KEY_CERT_SIGN
                                                     : MBEDTLS_X509_KU_DIGITAL_SIGNATURE);
    if (rc == 0 && !is_ca)
        rc = mbedtls_x509write_crt_set_extension(crt, MBEDTLS_OID_SUBJECT_ALT_NAME,
                                                 MBEDTLS_OID_SIZE(
                                                     MBEDTLS_OID_SUBJECT_ALT_NAME),
                                                 0, subject_names, sizeof(subject_names));
    return rc;
}

static int make_certificate(char pem[PEM_MAX_BYTES], struct maker *m, int is_ca)
{
    mbedtls_x509write_cert crt;
    int rc;

    mbedtls_x509write_crt_init(&crt);
    mbedtls_x509write_crt_set_version(&crt, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&crt, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_issuer_key(&crt, &m->ca_key);
    mbedtls_x509write_crt_set_subject_key(&crt, is_ca ? &m->ca_key : &m->server_key);
    rc = mbedtls_x509write_crt_set_issuer_name(&crt, CA_NAME);
    if (rc == 0)
        rc = mbedtls_x509write_crt_set_subject_name(&crt, is_ca ? CA_NAME : SERVER_NAME);
    if (rc == 0)
        rc = set_validity(&crt);
    if (rc == 0)
        rc = set_serial(&crt, m);
    if (rc == 0)
        rc = set_extensions(&crt, is_ca);
    if (rc == 0)
        rc = mbedtls_x509write_crt_pem(&crt, (unsigned char *)pem, PEM_MAX_BYTES,
                                       mbedtls_ctr_drbg_random, &m->drbg);
    mbedtls_x509write_crt_free(&crt);
    return rc;
}

cygnet_status certificate_make(const char *ca_path, const char *cert_path,
                               const char *key_path, cygnet_error *err)
{
    char ca[PEM_MAX_BYTES] = "";
    char server[PEM_MAX_BYTES] = "";
    char key[PEM_MAX_BYTES] = "";
    struct maker m;
    cygnet_status st = CYGNET_OK;
    int rc;

    maker_init(&m);
    rc = make_keys(&m);
    if (rc == 0)
        rc = make_certificate(ca, &m, 1);
    if (rc == 0)
        rc = make_certificate(server, &m, 0);
    if (rc == 0)
        rc = mbedtls_pk_write_key_pem(&m.server_key, (unsigned char *)key, sizeof(key));
    if (rc != 0)
        st = complain(err, CYGNET_EUNSUPPORTED, rc,
                      "mbedTLS cannot make a certificate (-0x%04x)", (unsigned)-rc);
    if (st == CYGNET_OK)
        st = file_write(ca_path, ca, strlen(ca), 0644, err);
    if (st == CYGNET_OK)
        st = file_write(cert_path, server, strlen(server), 0644, err);
    if (st == CYGNET_OK)
        st = file_write(key_path, key, strlen(key), 0600, err);
    maker_clear(&m);
    return st;
}
