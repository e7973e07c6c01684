/* The battery as /sys/class/power_supply tells it: what the gauge shows, for the
 * energy meter, and how full it is, for the loan. */
#ifndef ENGINE_SWAN_BATTERY_H
#define ENGINE_SWAN_BATTERY_H

#include <stdbool.h>
#include <stdint.h>

#define BATTERY_WHY_BYTES 96

/* All batteries of the device together (not those of a mouse or a headset).
 *
 * n            batteries; 0: none
 * plugged      a supply delivers, or a battery is being charged
 * charging     a battery is being charged
 * full         each is full, or stands at its charge limit on external power
 * discharging  not plugged, and a battery runs down: what the gauge shows is what the
 *              device draws
 * power_mw     drawn now, above 0; NaN: not told, or not believed (`why`)
 * charge_uah   left by the counters (only differences mean something); NaN: not told
 * volts        mean of the batteries; NaN: not told
 * energy_uwh   the same by counters of energy; NaN: not told
 * level        0 empty to 1 full; NaN: not told
 * capacity_mj  when full; NaN: not told
 * why          the reason why power is not known */
struct battery {
    uint32_t n;
    bool plugged;
    bool charging;
    bool full;
    bool discharging;
    double power_mw;
    double charge_uah;
    double volts;
    double energy_uwh;
    double level;
    double capacity_mj;
    char why[BATTERY_WHY_BYTES];
};

/* unit_ua  what one of current_now is in uA; 0: 1 */
void battery_read(struct battery *out, const char *root, double unit_ua);

#endif
