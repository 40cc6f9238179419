// The sensors as a list: the same as the map in words, for keyboards, screen readers and small screens.

const MOST_ROWS = 500;

const ORDERS = {
  name: (a, b) => a.sensor.name.localeCompare(b.sensor.name, undefined, { numeric: true }),
  high: (a, b) => a.silent - b.silent || b.value - a.value,
  low: (a, b) => a.silent - b.silent || a.value - b.value,
  newest: (a, b) => b.end - a.end,
};

export class SensorList {
  constructor(choose) {
    this.rows = document.getElementById('rows');
    this.count = document.getElementById('count');
    this.search = document.getElementById('search');
    this.sort = document.getElementById('sort');
    this.choose = choose;
    this.items = new Map();
    this.search.addEventListener('input', () => this.render(this.shown, true));
    this.sort.addEventListener('change', () => this.render(this.shown, true));
  }

  /** Show these: [{sensor, value, end, silent, words, note, colour, chosen}]; order only changes when nobody is in it. */
  render(shown, reorder = false) {
    this.shown = shown;
    const wanted = this.search.value.trim().toLowerCase();
    const found = shown.filter(({ sensor }) => !wanted || `${sensor.name} ${sensor.id}`.toLowerCase().includes(wanted));
    const byName = this.sort.value === 'name';
    const busy = this.rows.matches(':hover, :focus-within');
    const known = found.length === this.rows.childElementCount && found.every(({ sensor }) => this.items.get(sensor)?.item.isConnected);
    if (reorder || !known || (!byName && !busy)) {
      const ordered = found.sort(ORDERS[this.sort.value]).slice(0, MOST_ROWS);
      this.rows.replaceChildren(...ordered.map((row) => this.item(row.sensor).item));
    }
    for (const row of found) this.fill(row);
    const silent = found.filter((row) => row.silent).length;
    const hidden = Math.max(0, found.length - MOST_ROWS);
    this.count.textContent = `${found.length} sensor${found.length === 1 ? '' : 's'}`
      + (silent ? `, ${silent} without data now` : '') + (hidden ? `; ${MOST_ROWS} are shown, search for others` : '');
  }

  item(sensor) {
    let made = this.items.get(sensor);
    if (!made) {
      const item = document.createElement('li'), button = document.createElement('button');
      const parts = ['swatch', 'what', 'value', 'note'].map((name) => Object.assign(document.createElement('span'), { className: name }));
      button.type = 'button';
      button.append(...parts);
      button.addEventListener('click', () => this.choose(sensor));
      item.append(button);
      made = { item, button, parts };
      this.items.set(sensor, made);
    }
    return made;
  }

  fill({ sensor, words, note, colour, silent, chosen }) {
    const { button, parts: [swatch, what, value, under] } = this.item(sensor);
    const set = (part, text) => { if (part.textContent !== text) part.textContent = text; };
    set(what, sensor.name);
    set(value, words);
    set(under, note);
    swatch.style.background = silent ? 'transparent' : colour;
    swatch.classList.toggle('square', sensor.demo);
    button.classList.toggle('silent', silent);
    button.setAttribute('aria-pressed', String(chosen));
  }

  /** Forget the rows of sensors that are no longer shown. */
  clear() {
    this.items.clear();
    this.rows.replaceChildren();
  }
}
