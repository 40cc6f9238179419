// What the page knows: the sensors of the metric that is shown, and the newest reading of each.

const SILENT_CADENCES = 3, LEAST_SILENCE_MS = 5 * 60_000, UNKNOWN_CADENCE_S = 1200;

/** All rows of a paged list of the API. */
export async function fetchAll(url) {
  const rows = [];
  for (let next = url; next; ) {
    const answer = await fetch(next);
    if (!answer.ok) throw new Error(`${next}: ${answer.status}`);
    const page = await answer.json();
    rows.push(...page.data);
    next = page.next ? new URL(page.next, location.href).pathname + new URL(page.next, location.href).search : null;
  }
  return rows;
}

export class Sensor {
  constructor(row, metric) {
    this.id = row.sensor;
    this.dataset = row.dataset;
    this.name = row.name || row.sensor;
    this.place = row.lon === null ? null : [row.lat, row.lon];
    this.demo = row.demo;
    this.registered = row.registered;
    this.surroundings = row.surroundings;
    const series = row.series.find((s) => s.metric === metric);
    this.cadenceS = series?.cadence_s || UNKNOWN_CADENCE_S;
    this.reading = null;
    this.failed = null; // start of a newer reading that failed its checks
    this.changedAt = 0;
  }

  /** Take a row of the live feed; false for one that is older than what is known. */
  take(row, now) {
    const start = Date.parse(row.start);
    const known = this.reading;
    if (row.flag === 4 || row.flag === 9) {
      this.failed = Math.max(this.failed ?? 0, start);
      return true;
    }
    if (known && (start < known.start || (start === known.start && row.rev < known.rev))) return false;
    this.reading = { start, end: start + row.period_s * 1000, value: row.value, flag: row.flag, tests: row.tests, rev: row.rev };
    if (row.newer_failed) this.failed = Date.parse(row.newer_failed);
    if (known && known.start !== start) this.changedAt = now;
    return true;
  }

  /** Whether the newest reading is too old to be called a value of now. */
  silent(now) {
    const { reading } = this;
    const patience = Math.max(LEAST_SILENCE_MS, SILENT_CADENCES * this.cadenceS * 1000);
    return !reading || reading.value === null || reading.start === this.failed || now - reading.end > patience;
  }
}
