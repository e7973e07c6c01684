/* Dispatch to whatever implements the store. */
#include "base/store.h"

cygnet_status store_read(struct store *s, struct bytes *out, const char *name,
                         cygnet_error *err)
{
    return s->ops->read(s, out, name, err);
}

cygnet_status store_replace(struct store *s, const char *name, const void *data,
                            size_t len, cygnet_error *err)
{
    return s->ops->replace(s, name, data, len, err);
}

cygnet_status store_remove(struct store *s, const char *name, cygnet_error *err)
{
    return s->ops->remove(s, name, err);
}

cygnet_status store_create(struct store *s, struct store_file **out, const char *name,
                           cygnet_error *err)
{
    return s->ops->create(s, out, name, err);
}

cygnet_status store_write(struct store_file *f, const void *data, size_t len,
                          cygnet_error *err)
{
    return f->store->ops->write(f, data, len, err);
}

cygnet_status store_commit(struct store_file *f, cygnet_error *err)
{
    return f->store->ops->commit(f, err);
}

void store_abandon(struct store_file *f)
{
    if (f)
        f->store->ops->abandon(f);
}

cygnet_status store_size(struct store *s, uint64_t *out, const char *name,
                         cygnet_error *err)
{
    return s->ops->size(s, out, name, err);
}

cygnet_status store_list(struct store *s, const char *folder,
                         cygnet_status (*each)(const char *name, void *user), void *user,
                         cygnet_error *err)
{
    return s->ops->list(s, folder, each, user, err);
}

void store_touch(struct store *s, const char *name)
{
    s->ops->touch(s, name);
}

cygnet_status store_age(struct store *s, int64_t *out, const char *name,
                        cygnet_error *err)
{
    return s->ops->age(s, out, name, err);
}

void store_destroy(struct store *s)
{
    if (s)
        s->ops->destroy(s);
}
