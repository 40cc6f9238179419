// The page: what is chosen, what is known, and who is told. Map, list and detail show the same sensors.

import { CityFeed } from './cityfeed.js';
import { Detail } from './detail.js';
import { age, clocks, number, unitName } from './format.js';
import { SensorList } from './list.js';
import { SensorMap } from './map.js';
import { Scale, drawLegend } from './scale.js';
import { Sensor, fetchAll } from './store.js';

const REGISTRY_MS = 10 * 60_000;
const at = (id) => document.getElementById(id);
const LIVE_WORDS = { live: 'Live', waiting: 'Reconnecting', stopped: 'Reload the page' };

const page = {
  city: null, datasets: [], registry: [], choices: [], choice: null,
  sensors: new Map(), scale: null, selected: null, dirty: true, clocks: clocks('UTC'),
};

// -- what is shown of a sensor ----------------------------------------------------------------------------

const unitCode = () => page.city.shown[page.choice.metric]?.unit ?? page.choice.unit ?? '';
const unit = () => unitName(unitCode());
function shown(value) {
  const rule = page.city.shown[page.choice.metric];
  return rule ? value * rule.factor + rule.offset : value;
}
const digits = () => page.city.digits[page.choice.metric] ?? 1;
const text = (value) => number(value, digits());
const words = (sensor) => `${text(shown(sensor.reading.value))} ${unit()}`.trim();

function describe(sensor, now) {
  const { reading } = sensor, silent = sensor.silent(now);
  const value = reading && reading.value !== null ? shown(reading.value) : NaN;
  let note = 'no data yet';
  if (reading) note = silent ? `no data since ${page.clocks.moment(reading.end)}` : age(now - reading.end);
  if (sensor.demo) note += ', demo place';
  if (!sensor.place) note += ', no place known';
  if (!silent && reading.flag === 3) note += ', suspect';
  return {
    sensor, silent, value, note, end: reading?.end ?? 0, words: Number.isNaN(value) ? '–' : words(sensor),
    colour: silent ? null : page.scale.colour(value), chosen: sensor === page.selected,
  };
}

const look = (row, now) => ({
  label: row.silent ? '' : text(row.value), colour: row.colour, silent: row.silent, demo: row.sensor.demo,
  suspect: row.sensor.reading?.flag === 3, flash: !calm && now - row.sensor.changedAt < 800,
});

const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;

// -- rendering: at most once a frame, and once a second for the ages --------------------------------------

function changed() {
  if (page.dirty) return;
  page.dirty = true;
  requestAnimationFrame(render);
}

function render() {
  page.dirty = false;
  if (!page.choice) return;
  const now = Date.now(), sensors = [...page.sensors.values()];
  const values = sensors.filter((s) => !s.silent(now)).map((s) => shown(s.reading.value));
  if (!page.scale || page.scale.outgrown(values)) {
    page.scale = new Scale(page.choice.metric, unitCode(), values);
    drawLegend(at('legend'), page.scale, page.choice.name, unit());
  }
  const rows = sensors.map((sensor) => describe(sensor, now));
  for (const row of rows) map.update(row.sensor, look(row, now));
  if (map.stale) map.label();
  list.render(rows);
  detail.update();
  const newest = Math.max(...sensors.map((s) => s.reading?.end ?? 0), 0);
  at('newest').textContent = newest ? `newest ${age(now - newest)}` : '';
}

// -- choosing ---------------------------------------------------------------------------------------------

function choose(sensor) {
  page.selected = sensor;
  document.body.classList.toggle('has-detail', Boolean(sensor));
  detail.show(sensor);
  map.mark(sensor, covered);
  remember();
  changed();
  if (sensor) at('detail').focus({ preventScroll: false });
}

function chooseMetric(choice, sensorId) {
  page.choice = choice;
  page.scale = null;
  page.selected = null;
  detail.show(null);
  document.body.classList.remove('has-detail');
  list.clear();
  page.sensors = new Map();
  for (const row of page.registry) if (measures(row, choice)) page.sensors.set(row.sensor, new Sensor(row, choice.metric));
  map.show([...page.sensors.values()]);
  const filter = { dataset: [choice.dataset], metric: [choice.metric], origin: ['live', 'import'] };
  const request = { topic: 'readings', mode: 'latest', tick_ms: 1000, filter };
  for (const old of feed.subscriptions) old.close();
  feed.subscribe(request, take);
  feed.subscribe({ ...request, snapshot: false, filter: { ...filter, flag: [4, 9] } }, take);
  const dataset = page.datasets.find((d) => d.id === choice.dataset);
  at('licence').textContent = [`${dataset.title}: ${dataset.attribution}`, ...(dataset.attribution.includes(dataset.licence) ? [] : [dataset.licence])].join(', ');
  at('csv').href = `/v1/${choice.dataset}/latest?metric=${choice.metric}&format=csv`;
  at('metric').value = `${choice.dataset}/${choice.metric}`;
  remember();
  changed();
  if (sensorId && page.sensors.has(sensorId)) choose(page.sensors.get(sensorId));
}

// On a phone the sheet lies over the map.
const covered = () => (matchMedia('(max-width: 759px)').matches && page.selected ? at('side').offsetHeight : 0);

const measures = (row, choice) => row.dataset === choice.dataset && row.series.some((s) => s.metric === choice.metric);

function take({ rows }) {
  if (!rows.length) return;
  const now = Date.now();
  for (const row of rows) {
    let sensor = page.sensors.get(row.sensor);
    if (!sensor) { // heard of, and not in the registry we read
      sensor = new Sensor({ ...row, name: null, lon: null, lat: null, demo: false, registered: false, series: [] }, row.metric);
      page.sensors.set(row.sensor, sensor);
    }
    sensor.take(row, now);
  }
  changed();
}

function remember() {
  const { choice, selected } = page;
  history.replaceState(null, '', `#${choice.dataset}/${choice.metric}${selected ? `/${selected.id}` : ''}`);
}

// -- the registry -----------------------------------------------------------------------------------------

function choicesOf() {
  const counts = new Map();
  for (const row of page.registry) {
    for (const { metric } of row.series) counts.set(`${row.dataset}/${metric}`, (counts.get(`${row.dataset}/${metric}`) ?? 0) + 1);
  }
  return page.datasets.flatMap((dataset) => dataset.metrics
    .filter(({ metric }) => counts.has(`${dataset.id}/${metric}`))
    .map((m) => ({ ...m, dataset: dataset.id, title: dataset.title, count: counts.get(`${dataset.id}/${m.metric}`) })));
}

function fillChooser() {
  const select = at('metric');
  select.replaceChildren(...page.datasets.flatMap((dataset) => {
    const options = page.choices.filter((c) => c.dataset === dataset.id)
      .map((c) => new Option(c.name, `${c.dataset}/${c.metric}`));
    if (!options.length) return [];
    const group = Object.assign(document.createElement('optgroup'), { label: dataset.title });
    group.append(...options);
    return [group];
  }));
  select.disabled = false;
}

async function readRegistry() {
  page.datasets = await fetchAll('/v1/datasets');
  const lists = await Promise.all(page.datasets.map((d) => fetchAll(`/v1/${d.id}/sensors?limit=10000`)));
  page.registry = lists.flat();
  page.choices = choicesOf();
}

async function refreshRegistry() {
  try {
    await readRegistry();
  } catch {
    return; // the next one may come through; what is known stays
  }
  const fresh = page.registry.filter((row) => measures(row, page.choice)).map((row) => new Sensor(row, page.choice.metric));
  for (const sensor of fresh) {
    const known = page.sensors.get(sensor.id);
    if (known) Object.assign(known, { name: sensor.name, place: sensor.place, demo: sensor.demo, registered: sensor.registered });
    else page.sensors.set(sensor.id, sensor);
  }
  map.show([...page.sensors.values()]);
  if (page.selected) map.mark(page.selected);
  changed();
}

// -- start ------------------------------------------------------------------------------------------------

function notice(words) {
  at('notice').textContent = words ?? '';
  at('notice').hidden = !words;
  map?.resize();
}

function show(view) {
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll('[data-show]')) {
    button.setAttribute('aria-pressed', String(button.dataset.show === view));
  }
  map.resize();
}

async function retried(task) {
  for (let wait = 1000; ; wait = Math.min(30_000, wait * 2)) {
    try {
      const done = await task();
      notice(null);
      return done;
    } catch (error) {
      console.warn(error);
      notice('The city’s data cannot be reached at the moment. Trying again …');
      await new Promise((resolve) => { setTimeout(resolve, wait * (0.5 + Math.random())); });
    }
  }
}

function hear(event) {
  if (event.type === 'state' && event.state in LIVE_WORDS) {
    at('live').dataset.state = event.state;
    at('live-text').textContent = LIVE_WORDS[event.state];
  } else if (event.type === 'source') {
    notice(event.last_error && `The sensors are silent: ${event.last_error}.`);
  } else if (event.type === 'error' || event.type === 'problem') {
    console.warn('live feed:', event.error ?? event.message);
  }
}

let map = null, list = null, detail = null, feed = null;

async function start() {
  page.city = await retried(async () => (await fetch('/portal/city.json')).json());
  page.clocks = clocks(page.city.time_zone);
  document.title = `${page.city.name}: sensors, live`;
  at('city').textContent = page.city.name;
  map = new SensorMap(at('map'), page.city.bbox, choose);
  list = new SensorList((sensor) => { choose(sensor); show('map'); });
  detail = new Detail(at('detail'), {
    metric: () => page.choice, shown, number: text, unit, words, age, clocks: () => page.clocks,
    silent: (sensor) => sensor.silent(Date.now()),
  }, () => choose(null));
  for (const button of document.querySelectorAll('[data-show]')) button.addEventListener('click', () => show(button.dataset.show));
  new ResizeObserver(() => map.resize()).observe(at('map'));
  fetch('/portal/base.geojson').then((answer) => (answer.ok ? answer.json() : null)).then((base) => base && map.drawBase(base));
  await retried(readRegistry);
  fillChooser();
  feed = new CityFeed(location.origin, { client: 'portal', listener: hear });
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && feed.hurry());
  const [dataset, metric, sensor] = decodeURIComponent(location.hash.slice(1)).split('/');
  const wanted = page.choices.find((c) => c.dataset === dataset && c.metric === metric);
  const most = [...page.choices].sort((a, b) => b.count - a.count)[0];
  if (!most) {
    notice('No sensors yet.');
    return;
  }
  page.dirty = false;
  chooseMetric(wanted ?? most, sensor);
  at('metric').addEventListener('change', ({ target }) => {
    chooseMetric(page.choices.find((c) => `${c.dataset}/${c.metric}` === target.value));
  });
  addEventListener('keydown', (event) => { if (event.key === 'Escape' && page.selected) choose(null); });
  setInterval(changed, 1000);
  setInterval(refreshRegistry, REGISTRY_MS);
}

start();
