// The chosen sensor: its value in large, when and how it was measured, and its last day as a line.

const DAY_MS = 86_400_000;
const SVG = 'http://www.w3.org/2000/svg';

const FLAGS = {
  2: 'not checked yet',
  3: 'suspect: a check found it unusual',
};

export class Detail {
  constructor(element, context, close) {
    this.element = element;
    this.context = context; // {metric(), shown(value), number(value), clocks}
    this.close = close;
    this.sensor = null;
  }

  show(sensor) {
    this.sensor = sensor;
    this.element.hidden = !sensor;
    if (!sensor) return;
    const { metric } = this.context;
    const made = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text ?? '' });
    const head = made('div', 'head'), title = made('h2', '', sensor.name), shut = made('button', 'close', '×');
    shut.type = 'button';
    shut.setAttribute('aria-label', 'Close');
    shut.addEventListener('click', this.close);
    head.append(title, shut);
    this.value = made('p', 'big');
    this.when = made('p', 'when');
    this.remark = made('p', 'remark');
    this.chart = made('div', 'chart');
    const about = made('p', 'about');
    const since = new Date(Date.now() - DAY_MS).toISOString();
    const query = `sensor=${encodeURIComponent(sensor.id)}&metric=${metric().metric}&from=${since}&limit=2000`;
    const csv = made('a', '', 'last day as CSV'), api = made('a', '', 'this sensor in the API');
    csv.href = `/v1/${sensor.dataset}/readings?${query}&format=csv`;
    api.href = `/v1/${sensor.dataset}/sensors/${encodeURIComponent(sensor.id)}`;
    about.append(`${sensor.id}${sensor.surroundings ? `, ${sensor.surroundings}` : ''}. `, csv, ', ', api);
    this.element.replaceChildren(head, this.value, this.when, this.remark, this.chart, about);
    this.update();
    this.history(`/v1/${sensor.dataset}/readings?${query}`);
  }

  /** What changes with every reading and every second. */
  update() {
    const { sensor } = this;
    if (!sensor) return;
    const { words, age, clocks, silent } = this.context;
    const { reading } = sensor;
    const set = (part, text) => { if (part.textContent !== text) part.textContent = text; };
    const quiet = silent(sensor);
    set(this.value, reading && reading.value !== null ? words(sensor) : 'no data yet');
    this.value.classList.toggle('silent', quiet);
    if (reading) {
      const span = reading.end > reading.start ? `${clocks().time(reading.start)} to ${clocks().moment(reading.end)}` : clocks().moment(reading.end);
      set(this.when, quiet ? `No data since ${clocks().moment(reading.end)} ${clocks().zone(reading.end)}`
        : `Measured ${span} ${clocks().zone(reading.end)}, ${age(Date.now() - reading.end)}`);
    }
    const remarks = [];
    if (reading && FLAGS[reading.flag]) remarks.push(`This value is ${FLAGS[reading.flag]}.`);
    if (reading && sensor.failed >= reading.start) remarks.push(`The reading of ${clocks().moment(sensor.failed)} failed its checks and is not shown.`);
    if (sensor.demo) remarks.push('A demonstration place: the data are real, but this sensor does not stand here.');
    if (!sensor.registered) remarks.push('This sensor is not registered, so its place is not known.');
    else if (!sensor.place) remarks.push('No place is known for this sensor.');
    set(this.remark, remarks.join(' '));
    this.remark.hidden = !remarks.length;
  }

  async history(url) {
    const { sensor, chart } = this;
    try {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(String(answer.status));
      const rows = (await answer.json()).data.filter((row) => row.value !== null && row.flag < 4);
      if (this.sensor !== sensor || rows.length < 2) return;
      this.draw(chart, rows.map((row) => [Date.parse(row.start), this.context.shown(row.value)]));
    } catch {
      if (this.sensor === sensor) chart.textContent = 'The last day cannot be shown at the moment.';
    }
  }

  draw(chart, points) {
    const { number, clocks, unit } = this.context;
    const values = points.map(([, value]) => value);
    const low = Math.min(...values), high = Math.max(...values);
    const from = points[0][0], to = points.at(-1)[0];
    const x = (t) => (300 * (t - from)) / Math.max(1, to - from);
    const y = (v) => 58 - (52 * (v - low)) / (high - low || 1);
    const gap = Math.max(4 * (to - from) / points.length, 900_000);
    const path = points.map(([t, v], i) => `${i && t - points[i - 1][0] < gap ? 'L' : 'M'}${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join('');
    const svg = document.createElementNS(SVG, 'svg'), line = document.createElementNS(SVG, 'path');
    svg.setAttribute('viewBox', '0 0 300 64');
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('role', 'img');
    const words = `${clocks().moment(from)} to ${clocks().moment(to)}: lowest ${number(low)}, highest ${number(high)} ${unit()}`;
    svg.setAttribute('aria-label', words);
    line.setAttribute('d', path);
    svg.append(line);
    const short = `Last 24 hours: lowest ${number(low)}, highest ${number(high)} ${unit()}`;
    const note = Object.assign(document.createElement('p'), { className: 'note', textContent: short });
    chart.replaceChildren(svg, note);
  }
}
