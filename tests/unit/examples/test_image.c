/* Resizing, channels and scale against values worked out by hand. */
#include "examples/common/image.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The model's value of a (possibly fractional) pixel. */
static float scaled(double pixel)
{
    return (float)((pixel / 255.0 - 0.5) / 0.5);
}

static void assert_near(float got, float want)
{
    assert_true(fabsf(got - want) <= 8.0f * FLT_EPSILON);
}

static void convert(float *out, struct image_shape from, struct image_shape to,
                    const uint8_t *pixels)
{
    struct image_plan *plan;

    assert_int_equal(image_plan_create(&plan, from, to, NULL), CYGNET_OK);
    image_plan_apply(plan, out, pixels);
    image_plan_destroy(plan);
}

static void test_same_size_keeps_each_pixel_scaled_to_minus_one_to_one(void **state)
{
    const uint8_t pixels[] = {0, 255, 51, 204};
    float out[4];

    (void)state;
    convert(out, (struct image_shape){1, 2, 2}, (struct image_shape){1, 2, 2}, pixels);
    assert_true(out[0] == -1.0f && out[1] == 1.0f);
    assert_near(out[2], -0.6f);
    assert_near(out[3], 0.6f);
}

static void test_doubling_reads_at_quarter_pixels_and_clamps_at_the_edges(void **state)
{
    /* centres of the four outputs fall at -0.25, 0.25, 0.75, 1.25 */
    const uint8_t pixels[] = {0, 100};
    const double want[] = {0, 25, 75, 100};
    float out[4];

    (void)state;
    convert(out, (struct image_shape){1, 1, 2}, (struct image_shape){1, 1, 4}, pixels);
    for (int i = 0; i < 4; i++)
        assert_near(out[i], scaled(want[i]));
}

static void test_both_axes_are_interpolated(void **state)
{
    const uint8_t pixels[] = {0, 40, 80, 160};
    float out[9];

    /* 2 -> 3: centres at -1/6, 1/2, 7/6; the middle one is the mean of all */
    (void)state;
    convert(out, (struct image_shape){1, 2, 2}, (struct image_shape){1, 3, 3}, pixels);
    assert_near(out[0], scaled(0));
    assert_near(out[1], scaled(20));
    assert_near(out[4], scaled(70));
    assert_near(out[5], scaled(100));
    assert_near(out[8], scaled(160));
}

static void test_halving_takes_the_mean_of_the_middle_pair(void **state)
{
    const uint8_t pixels[] = {10, 20, 30, 50};
    float out[2];

    (void)state;
    convert(out, (struct image_shape){1, 1, 4}, (struct image_shape){1, 1, 2}, pixels);
    assert_near(out[0], scaled(15));
    assert_near(out[1], scaled(40));
}

static void test_grey_is_repeated_into_each_channel(void **state)
{
    const uint8_t pixels[] = {7, 200};
    float out[6];

    (void)state;
    convert(out, (struct image_shape){1, 1, 2}, (struct image_shape){3, 1, 2}, pixels);
    for (int c = 0; c < 3; c++) {
        assert_near(out[2 * c], scaled(7));
        assert_near(out[2 * c + 1], scaled(200));
    }
}

static void test_colour_becomes_grey_by_luminance(void **state)
{
    const uint8_t pixels[] = {200, 100, 50};
    float out[1];

    (void)state;
    convert(out, (struct image_shape){3, 1, 1}, (struct image_shape){1, 1, 1}, pixels);
    assert_near(out[0], scaled(0.299 * 200 + 0.587 * 100 + 0.114 * 50));
}

static void test_channels_that_cannot_be_made_are_refused(void **state)
{
    struct image_plan *plan;
    cygnet_error err;

    (void)state;
    assert_int_equal(image_plan_create(&plan, (struct image_shape){3, 4, 4},
                                       (struct image_shape){2, 4, 4}, &err),
                     CYGNET_ESHAPE);
    assert_string_equal(err.message,
                        "pictures of 3 channels cannot be made into 2 channels");
    assert_null(plan);
}

static void test_a_flat_row_is_the_picture_itself_or_a_square(void **state)
{
    const struct image_shape from = {3, 32, 32};
    struct image_shape shape;
    uint64_t own = 3072;
    uint64_t square = 784;
    uint64_t neither = 783;

    (void)state;
    assert_int_equal(image_shape_of_row(&shape, &own, 1, from, NULL), CYGNET_OK);
    assert_int_equal(shape.channels, 3);
    assert_int_equal(shape.width, 32);
    assert_int_equal(image_shape_of_row(&shape, &square, 1, from, NULL), CYGNET_OK);
    assert_int_equal(shape.channels, 1);
    assert_int_equal(shape.height, 28);
    assert_int_equal(image_shape_of_row(&shape, &neither, 1, from, NULL), CYGNET_ESHAPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_size_keeps_each_pixel_scaled_to_minus_one_to_one),
        cmocka_unit_test(test_doubling_reads_at_quarter_pixels_and_clamps_at_the_edges),
        cmocka_unit_test(test_both_axes_are_interpolated),
        cmocka_unit_test(test_halving_takes_the_mean_of_the_middle_pair),
        cmocka_unit_test(test_grey_is_repeated_into_each_channel),
        cmocka_unit_test(test_colour_becomes_grey_by_luminance),
        cmocka_unit_test(test_channels_that_cannot_be_made_are_refused),
        cmocka_unit_test(test_a_flat_row_is_the_picture_itself_or_a_square),
    };
    return cmocka_run_group_tests_name("examples image", tests, NULL, NULL);
}
