// The map: Leaflet with no tiles. Lines and names come from the city, the grid of degrees is drawn here, and every
// sensor is a mark on one canvas: a disc, or its value as text where there is room for it.

import { inkOn } from './scale.js';

const LABEL_ZOOM = 12, LABEL_HEIGHT = 18, FLASH_MS = 900;

// Discs shrink with the city, so that neighbours stay apart.
const radiusAt = (zoom) => Math.max(3.5, Math.min(7.5, 7 + (zoom - 12) * 1.5));
let radius = 7;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A sensor's mark; `look` is {label, colour, ink, silent, demo, suspect, flash}. */
const Mark = L.CircleMarker.extend({
  look: { silent: true },
  labelled: false,
  _updateBounds() {
    const pad = L.point((this.labelled ? this.halfWidth : radius) + 8, 18);
    this._pxBounds = new L.Bounds(this._point.subtract(pad), this._point.add(pad));
  },
  _containsPoint(p) {
    const half = this.labelled ? this.halfWidth : radius, high = this.labelled ? LABEL_HEIGHT / 2 : radius;
    const reach = this._clickTolerance();
    return Math.abs(p.x - this._point.x) <= half + reach && Math.abs(p.y - this._point.y) <= high + reach;
  },
  _updatePath() { this._renderer._drawMark(this); },
});

L.Canvas.include({
  _drawMark(mark) {
    if (!this._drawing || mark._empty()) return;
    const { x, y } = mark._point, { look } = mark, ctx = this._ctx;
    const edge = mark.chosen ? theme.chosen : look.silent ? theme.silent : theme.edge;
    ctx.save();
    ctx.beginPath();
    if (mark.labelled) ctx.roundRect(x - mark.halfWidth, y - LABEL_HEIGHT / 2, 2 * mark.halfWidth, LABEL_HEIGHT, look.demo ? 3 : 9);
    else if (look.demo) ctx.roundRect(x - radius + 0.5, y - radius + 0.5, 2 * radius - 1, 2 * radius - 1, 2.5);
    else ctx.arc(x, y, look.silent ? radius - 1.5 : radius, 0, 7);
    if (look.flash) {
      ctx.lineWidth = 9;
      ctx.strokeStyle = theme.flash;
      ctx.stroke();
    }
    ctx.fillStyle = look.silent ? theme.ground : look.colour;
    ctx.fill();
    ctx.lineWidth = mark.chosen ? 3.5 : look.silent ? 2 : 1.25;
    ctx.strokeStyle = edge;
    if (look.suspect) ctx.setLineDash([3, 2]);
    ctx.stroke();
    if (mark.labelled) {
      ctx.fillStyle = look.ink;
      ctx.font = FONT;
      ctx.textAlign = 'center';
      ctx.textBaseline = 'middle';
      ctx.fillText(look.label, x, y + 0.5);
    }
    ctx.restore();
  },
});

const FONT = '600 12px system-ui, sans-serif';
let theme = {};

function readTheme() {
  theme = {
    edge: css('--mark-edge'), chosen: css('--chosen'), silent: css('--silent'), ground: css('--ground'), flash: css('--flash'),
  };
}

export class SensorMap {
  constructor(element, bbox, choose) {
    readTheme();
    this.choose = choose;
    this.marks = new Map();
    this.canvas = L.canvas({ padding: 0.3, tolerance: matchMedia('(pointer: coarse)').matches ? 10 : 3 });
    const [west, south, east, north] = bbox;
    this.city = L.latLngBounds([south, west], [north, east]);
    this.map = L.map(element, {
      zoomControl: false, attributionControl: false, preferCanvas: true, minZoom: 3, maxZoom: 18, zoomSnap: 0.25,
      renderer: this.canvas, zoomAnimation: !matchMedia('(prefers-reduced-motion: reduce)').matches,
    }).fitBounds(this.city);
    L.control.zoom({ position: 'topright' }).addTo(this.map);
    L.control.scale({ position: 'bottomright' }).addTo(this.map);
    this.map.createPane('base').style.zIndex = 250;
    this.map.createPane('names').style.zIndex = 260;
    new Graticule().addTo(this.map);
    this.names = [];
    this.map.on('zoomend', () => this.rescale());
    this.map.on('moveend resize', () => this.label());
    this.map.on('click', () => choose(null));
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.restyle());
    this.measure = document.createElement('canvas').getContext('2d');
    this.measure.font = FONT;
  }

  /** Lines and names of the city, GeoJSON. */
  drawBase(geojson) {
    const name = (feature, spots, kind) => {
      const span = Object.assign(document.createElement('span'), { textContent: feature.properties.name });
      const icon = L.divIcon({ className: `name ${kind}`, html: span, iconSize: null });
      const marker = L.marker(spots[0], { pane: 'names', interactive: false, keyboard: false, icon }).addTo(this.map);
      this.names.push({ marker, spots, span, width: span.offsetWidth, height: span.offsetHeight });
    };
    const svg = L.svg({ pane: 'base', padding: 0.5 });
    for (const className of ['road-edge', 'road']) {
      L.geoJSON(geojson, {
        filter: (f) => f.geometry.type.endsWith('LineString'), pane: 'base', renderer: svg, interactive: false,
        style: { className },
      }).addTo(this.map);
    }
    const places = (feature) => feature.geometry.type === 'Point';
    for (const feature of [...geojson.features].sort((a, b) => places(b) - places(a))) {
      const { type, coordinates } = feature.geometry;
      if (type === 'Point') name(feature, [[coordinates[1], coordinates[0]]], 'place');
      if (type === 'LineString' && feature.properties.name) {
        const along = [0.4, 0.55, 0.25, 0.7, 0.1, 0.85].map((share) => coordinates[Math.floor(coordinates.length * share)]);
        name(feature, along.map(([lon, lat]) => [lat, lon]), 'road-name');
      }
    }
    this.label();
  }

  /** Show these sensors and no others. */
  show(sensors) {
    for (const mark of this.marks.values()) mark.remove();
    this.marks.clear();
    const placed = sensors.filter((s) => s.place);
    for (const sensor of placed) this.add(sensor);
    const view = this.map.getBounds();
    if (placed.length && (!this.framed || !placed.some((s) => view.contains(s.place)))) {
      this.framed = true;
      this.map.fitBounds(L.latLngBounds(placed.map((s) => s.place)), { padding: [36, 36], maxZoom: 13, animate: false });
    }
    this.rescale();
  }

  add(sensor) {
    const mark = new Mark(sensor.place, { radius, renderer: this.canvas, bubblingMouseEvents: false });
    mark.on('click', () => this.choose(sensor));
    mark.sensor = sensor;
    this.marks.set(sensor, mark.addTo(this.map));
  }

  /** Draw a sensor's mark as `look` says, where that changed anything. */
  update(sensor, look) {
    const mark = this.marks.get(sensor);
    if (!mark) return;
    const before = mark.look;
    if (Object.keys(look).every((key) => look[key] === before[key])) return;
    look.ink = look.silent ? null : inkOn(look.colour);
    mark.look = look;
    if (look.label !== before.label || look.silent !== before.silent) this.stale = true;
    this.repaint(mark);
    if (look.flash) setTimeout(() => { mark.look = { ...mark.look, flash: false }; this.repaint(mark); }, FLASH_MS);
  }

  repaint(mark) {
    mark._updateBounds();
    mark.redraw();
  }

  rescale() {
    radius = radiusAt(this.map.getZoom());
    for (const mark of this.marks.values()) this.repaint(mark);
    this.label();
  }

  /** Values as text where they do not cover each other; the others stay discs. */
  label() {
    this.stale = false;
    const view = this.map.getPixelBounds(), taken = [];
    const near = this.map.getZoom() >= LABEL_ZOOM;
    const clear = (box) => taken.every((t) => box[0] > t[2] || box[2] < t[0] || box[1] > t[3] || box[3] < t[1]);
    for (const mark of [...this.marks.values()].sort((a, b) => (b.chosen ?? 0) - (a.chosen ?? 0))) {
      const { label, silent } = mark.look;
      const p = this.map.project(mark.getLatLng());
      let labelled = Boolean(label) && !silent && (near || mark.chosen) && view.contains(p);
      if (labelled) {
        mark.halfWidth = Math.max(13, this.measure.measureText(label).width / 2 + 6);
        const box = [p.x - mark.halfWidth - 1, p.y - 11, p.x + mark.halfWidth + 1, p.y + 11];
        labelled = mark.chosen || clear(box);
        if (labelled) taken.push(box);
      }
      if (labelled !== mark.labelled || labelled) {
        mark.labelled = labelled;
        this.repaint(mark);
      }
      if (labelled) mark.bringToFront();
    }
    this.placeNames(taken);
  }

  /** Names beside the marks, where there is room: over, under, or not at all. */
  placeNames(taken) {
    const discs = [...this.marks.values()].filter((mark) => !mark.labelled).map((mark) => this.map.project(mark.getLatLng()));
    const free = ([left, top, right, bottom]) => taken.every((t) => left > t[2] || right < t[0] || top > t[3] || bottom < t[1])
      && discs.every((p) => p.x + radius < left || p.x - radius > right || p.y + radius < top || p.y - radius > bottom);
    for (const { marker, spots, span, width, height } of this.names) {
      const w = width / 2 + 2, h = height / 2;
      const shifts = [[0, 0], [0, -18], [0, 18], [w + 10, 0], [-w - 10, 0], [0, -28], [0, 28]];
      const tries = spots.flatMap((at) => {
        const p = this.map.project(at);
        return shifts.map(([dx, dy]) => ({ at, dx, dy, box: [p.x + dx - w, p.y + dy - h, p.x + dx + w, p.y + dy + h] }));
      });
      const found = tries.find(({ box }) => free(box));
      span.hidden = !found;
      if (!found) continue;
      marker.setLatLng(found.at);
      span.style.translate = `${found.dx}px ${found.dy}px`;
      taken.push(found.box);
    }
  }

  /** Mark the chosen sensor and bring it into view; `covered()` is what hides the map's lower edge, in pixels. */
  mark(sensor, covered = () => 0) {
    for (const mark of this.marks.values()) {
      if (mark.chosen === (mark.sensor === sensor)) continue;
      mark.chosen = mark.sensor === sensor;
      this.repaint(mark);
    }
    const mark = this.marks.get(sensor);
    if (mark) {
      mark.bringToFront();
      const size = this.map.getSize(), bottom = size.y - covered() - 40;
      let p = this.map.latLngToContainerPoint(mark.getLatLng());
      if (p.x < 0 || p.y < 0 || p.x > size.x || p.y > size.y) {
        this.map.setView(mark.getLatLng(), Math.max(this.map.getZoom(), 13), { animate: false });
        p = this.map.latLngToContainerPoint(mark.getLatLng());
      }
      if (p.y > bottom) this.map.panBy([0, p.y - bottom / 2], { animate: false });
    }
    this.label();
  }

  /** The page gave the map another size. */
  resize() { this.map.invalidateSize({ animate: false }); }

  restyle() {
    readTheme();
    for (const mark of this.marks.values()) this.repaint(mark);
  }
}

// A grid of degrees with labels at the edges: the base map that is always there.
const STEPS = [30, 10, 5, 2, 1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005];

const Graticule = L.Layer.extend({
  onAdd(map) {
    this.lines = L.layerGroup().addTo(map);
    this.svg = L.svg({ pane: 'base', padding: 0.1 });
    map.on('moveend resize', this.draw, this);
    this.draw();
  },
  draw() {
    const map = this._map, view = map.getBounds(), size = map.getSize();
    this.lines.clearLayers();
    const perPixel = (view.getEast() - view.getWest()) / Math.max(1, size.x);
    const step = [...STEPS].reverse().find((s) => s / perPixel >= 110) ?? 30;
    const digits = Math.max(0, Math.ceil(-Math.log10(step)));
    const each = (from, to, act) => {
      for (let i = Math.ceil(from / step); i * step <= to && i * step - from < step * 60; i++) act(Number((i * step).toFixed(6)));
    };
    const text = (value, letters) => `${Math.abs(value).toFixed(digits)}°\u2009${value === 0 ? '' : letters[value < 0 ? 1 : 0]}`;
    const line = (points) => L.polyline(points, { pane: 'base', renderer: this.svg, interactive: false, className: 'grid' }).addTo(this.lines);
    const label = (point, words, kind) => L.marker(map.containerPointToLatLng(point), {
      pane: 'names', interactive: false, keyboard: false,
      icon: L.divIcon({ className: `degree ${kind}`, html: Object.assign(document.createElement('span'), { textContent: words }), iconSize: null }),
    }).addTo(this.lines);
    const wide = view.pad(0.2);
    each(wide.getWest(), wide.getEast(), (lon) => {
      line([[Math.max(-85, wide.getSouth()), lon], [Math.min(85, wide.getNorth()), lon]]);
      const x = map.latLngToContainerPoint([view.getCenter().lat, lon]).x;
      if (x > 60 && x < size.x - 110) label([x, 0], text(lon, 'EW'), 'lon');
    });
    each(Math.max(-85, wide.getSouth()), Math.min(85, wide.getNorth()), (lat) => {
      line([[lat, wide.getWest()], [lat, wide.getEast()]]);
      const { y } = map.latLngToContainerPoint([lat, view.getCenter().lng]);
      if (y > 30 && y < size.y - 110) label([0, y], text(lat, 'NS'), 'lat');
    });
  },
});
