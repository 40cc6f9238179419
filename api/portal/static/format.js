// Values, units, times and ages as people read them.

const UNITS = {
  'ug/m3': 'µg/m³', '[ppb]': 'ppb', '[ppm]': 'ppm', Cel: '°C', '[degF]': '°F', '[mi_i]/h': 'mph', '{veh}': 'vehicles',
  1: '', '%': '%',
};

/** A UCUM code as people write it. */
export const unitName = (code) => UNITS[code] ?? code ?? '';

/** A number with so many digits after the point, in the reader's language. */
export function number(value, digits) {
  return value.toLocaleString(undefined, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** 'just now', '12 s', '5 min', '3 h', '2 days' */
export function age(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 5) return 'just now';
  if (s < 90) return `${s} s ago`;
  if (s < 90 * 60) return `${Math.round(s / 60)} min ago`;
  if (s < 36 * 3600) return `${Math.round(s / 3600)} h ago`;
  return `${Math.round(s / 86400)} days ago`;
}

/** Clocks of the city: `time` 14:05, `moment` with the day where it is not today. */
export function clocks(timeZone) {
  const time = new Intl.DateTimeFormat(undefined, { timeZone, hour: '2-digit', minute: '2-digit' });
  const day = new Intl.DateTimeFormat(undefined, { timeZone, day: 'numeric', month: 'short' });
  const zone = new Intl.DateTimeFormat('en', { timeZone, timeZoneName: 'short' });
  return {
    time: (ms) => time.format(ms),
    moment: (ms) => (day.format(ms) === day.format(Date.now()) ? time.format(ms) : `${day.format(ms)}, ${time.format(ms)}`),
    zone: (ms) => zone.formatToParts(ms).find((part) => part.type === 'timeZoneName').value,
  };
}
