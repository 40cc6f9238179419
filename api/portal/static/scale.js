// Colours of values. Two palettes of six that people with any kind of colour vision can tell apart: ColorBrewer's
// RdYlBu where one end is the bad one, viridis where neither is. The number stands next to the colour everywhere.

const BAD_HIGH = ['#4575b4', '#91bfdb', '#e0f3f8', '#fee090', '#fc8d59', '#d73027'];
const BAD_LOW = [...BAD_HIGH].reverse();
const NEUTRAL = ['#440154', '#414487', '#2a788e', '#22a884', '#7ad151', '#fde725'];

const PALETTES = {
  speed: BAD_LOW, pm1: BAD_HIGH, pm25: BAD_HIGH, pm10: BAD_HIGH, o3: BAD_HIGH, no2: BAD_HIGH, no: BAD_HIGH, so2: BAD_HIGH,
  co: BAD_HIGH, co2: BAD_HIGH, voc: BAD_HIGH, noise: BAD_HIGH, 'travel-time': BAD_HIGH, temperature: BAD_HIGH,
  dewpoint: BAD_HIGH, occupancy: BAD_HIGH, battery: BAD_LOW,
};

// Steps that mean the same every day; a metric that is not here gets round steps over what is measured now.
const STEPS = {
  'speed km/h': [20, 40, 60, 80, 100], 'speed [mi_i]/h': [15, 25, 35, 45, 55],
  'pm1 ug/m3': [5, 10, 15, 25, 50], 'pm25 ug/m3': [5, 10, 15, 25, 50], 'pm10 ug/m3': [15, 30, 45, 75, 100],
  'o3 [ppb]': [20, 40, 60, 80, 100], 'no2 [ppb]': [10, 20, 40, 60, 100], 'humidity %': [20, 35, 50, 65, 80],
  'temperature Cel': [0, 8, 16, 24, 32], 'temperature [degF]': [32, 46, 60, 75, 90], 'noise dB': [45, 50, 55, 60, 70],
  'occupancy 1': [0.05, 0.1, 0.2, 0.3, 0.5],
};

export class Scale {
  /** `values` are those of now, in the unit shown: for metrics without fixed steps. */
  constructor(metric, unit, values) {
    this.colours = PALETTES[metric] ?? NEUTRAL;
    this.fixed = STEPS[`${metric} ${unit}`];
    this.steps = this.fixed ?? roundSteps(values);
  }

  /** Whether the steps no longer fit what is measured. */
  outgrown(values) {
    return !this.fixed && values.length > 0 && String(roundSteps(values)) !== String(this.steps);
  }

  colour(value) {
    return this.colours[this.steps.filter((step) => value >= step).length];
  }
}

/** Black or white, whichever is easier to read on a colour. */
export function inkOn(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.19 ? '#10151b' : '#ffffff';
}

function roundSteps(values) {
  if (!values.length) return [0, 1, 2, 3, 4];
  const low = Math.min(...values), high = Math.max(...values);
  const rough = Math.max((high - low) / 6, Math.abs(high) / 1000, 1e-9);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const first = Math.floor(low / step) * step + step;
  return [0, 1, 2, 3, 4].map((i) => Number((first + i * step).toPrecision(12)));
}

/** The legend: six steps with their bounds, the unit, and what a grey ring is. */
export function drawLegend(element, scale, title, unit) {
  element.replaceChildren();
  const caption = document.createElement('figcaption');
  caption.textContent = unit ? `${title}, ${unit}` : title;
  const bar = document.createElement('ol');
  scale.colours.forEach((colour, i) => {
    const item = document.createElement('li');
    const box = document.createElement('span');
    box.className = 'swatch';
    box.style.background = colour;
    const text = document.createElement('span');
    const { steps } = scale;
    text.textContent = i === 0 ? `<\u2009${steps[0]}` : `${steps[i - 1]}${i === 5 ? '+' : ''}`;
    text.title = i === 0 ? `under ${steps[0]}` : i === 5 ? `${steps[4]} and more` : `${steps[i - 1]} to ${steps[i]}`;
    item.append(box, text);
    bar.append(item);
  });
  element.append(caption, bar);
  for (const [kind, words] of [['silent', 'no data now'], ['demo', 'demo place']]) {
    const note = document.createElement('span');
    note.className = `key ${kind}`;
    note.textContent = words;
    element.append(note);
  }
}
