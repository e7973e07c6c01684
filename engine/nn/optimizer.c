/* Settings of optimisers: defaults, checks, and what they come to for one tensor. */
#include "engine/nn/optimizer.h"

#include "base/error.h"
#include "base/sized.h"

#include <math.h>
#include <string.h>

void cygnet_sgd_init(cygnet_sgd *sgd)
{
    memset(sgd, 0, sizeof(*sgd));
    sgd->struct_size = sizeof(*sgd);
    sgd->lr = 0.01f;
}

void cygnet_optimizer_init(cygnet_optimizer *optimizer, cygnet_optimizer_kind kind)
{
    bool adaptive = optimizer_state(kind) == STATE_MOMENTS;

    memset(optimizer, 0, sizeof(*optimizer));
    optimizer->struct_size = sizeof(*optimizer);
    optimizer->kind = kind;
    optimizer->lr = adaptive ? 1e-3 : 1e-2;
    optimizer->weight_decay = kind == CYGNET_OPTIMIZER_ADAMW ? 1e-2 : 0;
    optimizer->beta1 = 0.9;
    optimizer->beta2 = 0.999;
    optimizer->eps = 1e-8;
    optimizer->decay_norms_and_biases = 1;
}

enum update_state optimizer_state(cygnet_optimizer_kind kind)
{
    if (kind == CYGNET_OPTIMIZER_SGD)
        return STATE_VELOCITY;
    return kind == CYGNET_OPTIMIZER_PLAIN_SGD ? STATE_NONE : STATE_MOMENTS;
}

static cygnet_status check_kind(cygnet_optimizer_kind kind, cygnet_error *err)
{
    if ((unsigned)kind <= CYGNET_OPTIMIZER_ADAMW)
        return CYGNET_OK;
    return fail(err, CYGNET_EINVAL, 0, "optimizer kind %d is unknown", (int)kind);
}

static double number_at(const cygnet_optimizer *o, size_t offset)
{
    double value;

    memcpy(&value, (const char *)o + offset, sizeof(value));
    return value;
}

/* All of them have to survive the rounding to float. */
static cygnet_status check_numbers(const cygnet_optimizer *o, cygnet_error *err)
{
    static const struct {
        const char *name;
        const char *want;
        size_t offset;
        double least;
        double most;
    } numbers[] = {
        {"lr", "0 or more", offsetof(cygnet_optimizer, lr), 0, FLT_MAX},
        {"momentum", "0 or more", offsetof(cygnet_optimizer, momentum), 0, FLT_MAX},
        {"weight_decay", "0 or more", offsetof(cygnet_optimizer, weight_decay), 0,
         FLT_MAX},
        {"beta1", "0 to less than 1", offsetof(cygnet_optimizer, beta1), 0,
         1 - (double)FLT_EPSILON},
        {"beta2", "0 to less than 1", offsetof(cygnet_optimizer, beta2), 0,
         1 - (double)FLT_EPSILON},
        {"eps", "more than 0", offsetof(cygnet_optimizer, eps), FLT_MIN, FLT_MAX},
        {"max_grad_norm", "0 or more", offsetof(cygnet_optimizer, max_grad_norm), 0,
         FLT_MAX},
        {"prox_mu", "0 or more", offsetof(cygnet_optimizer, prox_mu), 0, FLT_MAX},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        double value = number_at(o, numbers[i].offset);

        if (!(value >= numbers[i].least && value <= numbers[i].most))
            return fail(err, CYGNET_EINVAL, 0, "%s is %g: want %s", numbers[i].name,
                        value, numbers[i].want);
    }
    return CYGNET_OK;
}

static cygnet_status check_combination(const cygnet_optimizer *o, cygnet_error *err)
{
    if (o->kind == CYGNET_OPTIMIZER_PLAIN_SGD && o->momentum > 0)
        return fail(err, CYGNET_EINVAL, 0, "momentum is %g: plain SGD has none",
                    o->momentum);
    if (o->nesterov && (o->kind != CYGNET_OPTIMIZER_SGD || !(o->momentum > 0)))
        return fail(err, CYGNET_EINVAL, 0, "nesterov needs SGD with a momentum");
    return CYGNET_OK;
}

/* What this step will remember: SGD without momentum nothing. */
static enum update_state state_needed(const cygnet_optimizer *o)
{
    if (o->kind == CYGNET_OPTIMIZER_SGD && o->momentum == 0)
        return STATE_NONE;
    return optimizer_state(o->kind);
}

static cygnet_status check_plan(const cygnet_optimizer *o, const struct update_plan *plan,
                                cygnet_error *err)
{
    static const char *const names[] = {"nothing", "a velocity", "two moments"};
    enum update_state needed = state_needed(o);

    if (needed != STATE_NONE && needed != plan->state)
        return fail(err, CYGNET_EINVAL, 0,
                    "this optimizer remembers %s, the model's options planned for %s",
                    names[needed], names[plan->state]);
    if (o->max_grad_norm > 0 && !plan->clips)
        return fail(err, CYGNET_EINVAL, 0,
                    "max_grad_norm is %g, but the model's options did not plan for "
                    "clip_gradients",
                    o->max_grad_norm);
    if (o->prox_mu > 0 && !plan->reference)
        return fail(err, CYGNET_EINVAL, 0,
                    "prox_mu is %g, but the model's options did not plan for proximal",
                    o->prox_mu);
    return CYGNET_OK;
}

static cygnet_status check_optimizer(const cygnet_optimizer *o,
                                     const struct update_plan *plan, cygnet_error *err)
{
    cygnet_status st = check_numbers(o, err);

    if (st == CYGNET_OK)
        st = check_combination(o, err);
    return st == CYGNET_OK ? check_plan(o, plan, err) : st;
}

cygnet_status optimizer_read(cygnet_optimizer *out, const cygnet_optimizer *given,
                             const struct update_plan *plan, cygnet_error *err)
{
    static const struct sized type = {"optimizer", sizeof(cygnet_optimizer),
                                      SIZED_UP_TO(cygnet_optimizer, lr),
                                      _Alignof(cygnet_optimizer)};
    cygnet_status st;

    if (!given)
        return fail(err, CYGNET_EINVAL, 0, "no optimizer settings given");
    st = sized_check(given->struct_size, &type, err);
    if (st == CYGNET_OK)
        st = check_kind(given->kind, err);
    if (st != CYGNET_OK)
        return st;
    cygnet_optimizer_init(out, given->kind);
    st = sized_adopt(out, given, &type, err);
    return st == CYGNET_OK ? check_optimizer(out, plan, err) : st;
}

cygnet_status optimizer_read_sgd(cygnet_optimizer *out, const cygnet_sgd *given,
                                 const struct update_plan *plan, cygnet_error *err)
{
    static const struct sized type = {"sgd", sizeof(cygnet_sgd),
                                      SIZED_UP_TO(cygnet_sgd, lr), _Alignof(cygnet_sgd)};
    cygnet_status st;
    cygnet_sgd sgd;

    cygnet_sgd_init(&sgd);
    if (!given)
        return fail(err, CYGNET_EINVAL, 0, "no sgd settings given");
    st = sized_adopt(&sgd, given, &type, err);
    if (st != CYGNET_OK)
        return st;
    cygnet_optimizer_init(out, CYGNET_OPTIMIZER_SGD);
    out->lr = (double)sgd.lr;
    out->momentum = (double)sgd.momentum;
    out->weight_decay = (double)sgd.weight_decay;
    return check_optimizer(out, plan, err);
}

static enum update_kind update_kind_of(const cygnet_optimizer *o)
{
    if (optimizer_state(o->kind) == STATE_MOMENTS)
        return UPDATE_ADAM;
    if (o->momentum == 0)
        return UPDATE_SGD;
    return o->nesterov ? UPDATE_NESTEROV : UPDATE_MOMENTUM;
}

void optimizer_settings(struct update_settings *out, const cygnet_optimizer *o,
                        uint64_t t)
{
    *out = (struct update_settings){
        .kind = update_kind_of(o),
        .decoupled = o->kind == CYGNET_OPTIMIZER_ADAMW,
        .decays_all = o->decay_norms_and_biases != 0,
        .lr = o->lr,
        .momentum = o->momentum,
        .weight_decay = o->weight_decay,
        .beta1 = o->beta1,
        .beta2 = o->beta2,
        .bias1 = 1 - pow(o->beta1, (double)t),
        .bias2 = 1 - pow(o->beta2, (double)t),
        .eps = o->eps,
        .clip = 1,
        .prox_mu = o->prox_mu,
    };
}

void update_rule_of(struct update_rule *out, const struct update_settings *s,
                    const struct update_group *group)
{
    double lr = s->lr * group->lr_scale;
    double decay = s->decays_all || !group->is_vector ? s->weight_decay : 0;

    *out = (struct update_rule){
        .kind = s->kind,
        .lr = (real)(s->kind == UPDATE_ADAM ? lr / s->bias1 : lr),
        .decay = (real)(s->decoupled ? 0 : decay),
        .shrink = (real)(s->decoupled ? 1 - lr * decay : 1),
        .clip = (real)s->clip,
        .prox_mu = (real)s->prox_mu,
        .momentum = (real)s->momentum,
        .beta1 = (real)s->beta1,
        .one_minus_beta1 = (real)(1 - s->beta1),
        .beta2 = (real)s->beta2,
        .one_minus_beta2 = (real)(1 - s->beta2),
        .root = (real)sqrt(s->bias2),
        .eps = (real)s->eps,
    };
}
