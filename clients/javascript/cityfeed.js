// A client of cityfeed's live feed (cityfeed.v1.json) and history: one file, no dependencies, browsers and Node 20+.
//
//   import { CityFeed } from './cityfeed.js';
//   const feed = new CityFeed('http://127.0.0.1:8000');
//   feed.subscribe({ topic: 'readings', filter: { metric: ['pm25'] } }, (event) => {
//     for (const row of event.rows) console.log(row.start, row.sensor, row.value);
//   });
//
// A lost connection is made again, and every subscription goes on where it was, by its cursor; frames that are missing
// are noticed by their numbers and asked for; windows and indices that come twice are dropped; what the server cannot
// give any more is told by a `reset` before the fresh snapshot. It never keeps what your listener has had: nothing
// grows while a page is open, but for the bounded memory of repeats. Licence: Apache-2.0.

/**
 * A row of any topic as the server sent it; later fields may be there too.
 * @typedef {Record<string, any>} Row
 *
 * Values of one field are OR, fields are AND; bbox is minLon, minLat, maxLon, maxLat in degrees.
 * @typedef {{dataset?: string[], metric?: string[], sensor?: string[], width?: string[], index?: string[],
 *   category?: string[], flag?: number[], origin?: string[], bbox?: number[]}} Filter
 *
 * @typedef {{topic?: string, mode?: 'latest' | 'all', tick_ms?: number, snapshot?: boolean, cursor?: string | null,
 *   filter?: Filter}} Wanted
 * @typedef {{topic?: string, since: string | Date, until?: string | Date, speed?: number | 'max', filter?: Filter}} Past
 *
 * Every event has `rows`, so that whoever wants only rows asks nothing else:
 *   snapshot    a part of the state as it is now; `last` ends it
 *   rows        what came; `n_conflated` were superseded (mode latest); `replay`: of the past
 *   reset       rows ARE MISSING before the snapshot that follows: `reason`, and `history` where they can be had
 *   gap         frames went missing and are being asked for; nothing is lost yet
 *   replay_end  a replay came to its end
 *   state       connecting, live, waiting (for `wait_ms`), stopped, closed
 *   source      a source behind the feed failed (`last_error`) or is back (null)
 *   heartbeat   the server lives; `lag_ms` is how old the newest thing from the sensors is
 *   problem     an error of the server that ends nothing; with `retry_after_ms` it is tried again by itself
 *   error       the end of a subscription (SubscriptionRefused) or of the feed (Stopped, NotALiveFeed)
 * @typedef {{subscription: Subscription, rows: Row[]}} Of
 * @typedef {{rows: Row[]}} Bare
 * @typedef {Of & {type: 'snapshot', part: number, last: boolean}} SnapshotEvent
 * @typedef {Of & {type: 'rows', seq: [number, number], cursor: string, n_conflated: number, replay: boolean}} RowsEvent
 * @typedef {Of & {type: 'reset', reason: string, history: string[]}} ResetEvent
 * @typedef {Of & {type: 'gap', expected: number, found: number}} GapEvent
 * @typedef {Of & {type: 'replay_end', cursor: string | null}} ReplayEndEvent
 * @typedef {Bare & {type: 'state', state: 'connecting' | 'live' | 'waiting' | 'stopped' | 'closed', detail: string,
 *   wait_ms: number, code: number | null}} StateEvent
 * @typedef {Bare & {type: 'source', source: string, updated: string | null, last_error: string | null}} SourceEvent
 * @typedef {Bare & {type: 'heartbeat', t: string, lag_ms: number}} HeartbeatEvent
 * @typedef {Bare & {type: 'problem', code: string, message: string, subscription: Subscription | null,
 *   retry_after_ms: number | null}} ProblemEvent
 * @typedef {Bare & {type: 'error', error: CityFeedError, subscription: Subscription | null}} ErrorEvent
 * @typedef {SnapshotEvent | RowsEvent | ResetEvent | GapEvent | ReplayEndEvent | StateEvent | SourceEvent
 *   | HeartbeatEvent | ProblemEvent | ErrorEvent} FeedEvent
 * @typedef {(event: FeedEvent) => void} Listener
 *
 * How long to wait before the next try, in ms; null means stop.
 * @typedef {(code: number | null, failures: number, goingAwayMs: number | null) => number | null} Wait
 */

export const SUBPROTOCOL = 'cityfeed.v1.json';
const LIVE_PATH = '/v1/live';
const FIRST_SILENCE_MS = 20_000;
const HEARTBEATS_MISSED = 2.5;
const MOST_GAPS = 3; // in a row, and the connection is made anew
const REMEMBERED = 100_000; // keys a subscription, to drop what comes twice; the oldest are forgotten first
const REPEATING = ['windows', 'index'];
const KEY = ['dataset', 'sensor', 'metric', 'index', 'table', 'width', 'width_s', 'start'];

/** `name` is Stopped (the server refuses this client), SubscriptionRefused, NotALiveFeed or HistoryError. */
export class CityFeedError extends Error {
  /** @param {string} name @param {string} message @param {string | number | null} code @param {string} reason */
  constructor(name, message, code = null, reason = '') {
    super(message);
    this.name = name;
    this.code = code;
    this.reason = reason;
  }
}

/**
 * The usual `wait`. 40xx: stop. 41xx: back off, 5 s and doubling, at most 5 minutes. 42xx: when `going_away` said, else
 * at once. The network: 0.5 s and doubling, at most 30 s. Drawn between half of it and all of it, so that those who
 * lost their connection together do not come back together.
 * @type {Wait}
 */
export function waitMs(code, failures, goingAwayMs) {
  if (code !== null && code >= 4000 && code < 4100) return null;
  if (goingAwayMs !== null && failures === 0) return goingAwayMs;
  if (code !== null && code >= 4200 && code < 4300 && failures === 0) return 250 * Math.random();
  const [first, most] = code !== null && code >= 4100 && code < 4200 ? [5_000, 300_000] : [500, 30_000];
  return Math.min(most, first * 2 ** Math.min(failures, 30)) * (0.5 + 0.5 * Math.random());
}

/** What is asked for, and how far it has come; `cursor` may be kept and given to another feed, or to history. */
export class Subscription {
  /** @param {CityFeed} feed @param {Wanted} wanted @param {Record<string, any> | null} past @param {Listener} listener */
  constructor(feed, wanted, past, listener) {
    this.feed = feed;
    this.topic = wanted.topic ?? 'readings';
    this.mode = wanted.mode ?? 'latest';
    this.tick_ms = wanted.tick_ms ?? null;
    this.snapshot = past === null && (wanted.snapshot ?? true);
    this.filter = wanted.filter ?? {};
    /** @type {string | null} */
    this.cursor = wanted.cursor ?? null;
    this.past = past;
    this.listener = listener;
    /** Rows dropped because they were here before. */
    this.repeats = 0;
    /** @type {number | null} */
    this.id = null;
    /** @type {'idle' | 'asked' | 'snapshot' | 'live' | 'ended'} */
    this.state = 'idle';
    this.seq = 0;
    this.parts = 0;
    this.gaps = 0;
    /** @type {Map<string, number>} */
    this.revs = new Map();
  }

  /** End it; nothing more of it comes. */
  close() {
    this.feed.unsubscribe(this);
  }

  /** The message that asks for it. @param {number} id */
  request(id) {
    const common = {
      id, topic: this.topic,
      ...(Object.keys(this.filter).length ? { filter: this.filter } : {}),
      ...(this.cursor !== null ? { cursor: this.cursor } : {}),
    };
    if (this.past) return { type: 'replay', ...common, ...this.past };
    return {
      type: 'subscribe', ...common, mode: this.mode, snapshot: this.snapshot && this.cursor === null,
      ...(this.tick_ms !== null ? { tick_ms: this.tick_ms } : {}),
    };
  }

  /** The rows that were not here before with this rev or a higher one. @param {Row[]} rows */
  fresh(rows) {
    if (!REPEATING.includes(this.topic)) return rows;
    const kept = rows.filter((row) => {
      const key = JSON.stringify(KEY.map((name) => row[name])), rev = row.rev ?? 0, known = this.revs.get(key);
      if (known !== undefined && known >= rev) {
        this.repeats++;
        return false;
      }
      this.revs.delete(key);
      this.revs.set(key, rev);
      return true;
    });
    for (const key of this.revs.keys()) {
      if (this.revs.size <= REMEMBERED) break;
      this.revs.delete(key);
    }
    return kept;
  }
}

/** A live feed that survives lost connections. */
export class CityFeed {
  /**
   * `url` is the server's (http://host:port) or its live feed's. A token (or what gives one) is sent in the first
   * message, never in the URL. `WebSocket` is a class as browsers have it, for a Node that has none (the package `ws`).
   * @param {string} url
   * @param {{client?: string, token?: string | (() => string), WebSocket?: any, wait?: Wait, listener?: Listener}} [options]
   */
  constructor(url, options = {}) {
    this.url = liveUrl(url);
    this.client = options.client ?? 'cityfeed.js';
    this.token = options.token ?? null;
    this.WebSocket = options.WebSocket ?? /** @type {any} */ (globalThis).WebSocket;
    if (!this.WebSocket) throw new Error('there is no WebSocket here: pass { WebSocket }, such as that of the package ws');
    this.wait = options.wait ?? waitMs;
    /** Hears every event, those of all subscriptions too. @type {Listener} */
    this.listener = options.listener ?? (() => {});
    /** @type {Set<Subscription>} */
    this.subscriptions = new Set();
    /** @type {Map<number, Subscription>} */
    this.channels = new Map();
    /** @type {Set<ReturnType<typeof setTimeout>>} */
    this.retries = new Set();
    /** @type {any} */
    this.socket = null;
    this.greeted = false;
    this.healthy = false; // this connection gave something beyond its welcome
    this.closed = false;
    this.failures = 0;
    this.lastId = 0;
    this.silenceMs = FIRST_SILENCE_MS;
    /** @type {number | null} */
    this.goingAwayMs = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.watcher = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.online = () => this.hurry();
    globalThis.addEventListener?.('online', this.online); // a browser says when its network is back
    this.connect();
  }

  /**
   * Ask for a topic; with a `cursor` (of a subscription, or of a page of history) go on from there.
   * @param {Wanted} wanted @param {Listener} [listener]
   */
  subscribe(wanted, listener = () => {}) {
    return this.add(new Subscription(this, wanted, null, listener));
  }

  /**
   * Ask for the past in its order, `speed` times as fast as it was; without `until` it goes on live.
   * @param {Past} past @param {Listener} [listener]
   */
  replay({ topic, since, until, speed = 'max', filter }, listener = () => {}) {
    if (speed !== 'max' && !(speed >= 1 && speed <= 600)) throw new RangeError("speed is 1 to 600, or 'max'");
    const words = { from: timeOf(since), speed, ...(until === undefined ? {} : { to: timeOf(until) }) };
    return this.add(new Subscription(this, { topic, mode: 'all', filter }, words, listener));
  }

  /** @param {Subscription} subscription */
  unsubscribe(subscription) {
    if (!this.subscriptions.delete(subscription)) return;
    for (const [ch, known] of this.channels) if (known === subscription) this.channels.delete(ch);
    if (subscription.id !== null) this.say({ type: 'unsubscribe', id: subscription.id });
    subscription.id = null;
    subscription.state = 'ended';
  }

  /** End it. */
  close() {
    this.stop();
    this.tell({ type: 'state', state: 'closed', detail: '', wait_ms: 0, code: null, rows: [] });
  }

  /** Do not wait any longer for the next try: somebody looks at the page again. */
  hurry() {
    if (this.timer !== undefined && !this.closed) this.connect();
  }

  // -- the connection -------------------------------------------------------------------------------------

  /** @private */
  connect() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.forget();
    this.tell({ type: 'state', state: 'connecting', detail: '', wait_ms: 0, code: null, rows: [] });
    if (this.closed || this.socket) return; // the listener has closed it, or hurried
    const socket = this.socket = new this.WebSocket(this.url, SUBPROTOCOL);
    const mine = () => this.socket === socket;
    socket.onopen = () => {
      const token = typeof this.token === 'function' ? this.token() : this.token;
      if (mine()) this.say({ type: 'hello', client: this.client, ...(token === null ? {} : { token }) });
    };
    socket.onmessage = (/** @type {{data: string}} */ event) => mine() && this.hear(event.data);
    socket.onerror = () => {}; // onclose follows, and knows more
    socket.onclose = (/** @type {{code: number, reason: string}} */ event) =>
      mine() && this.lost(event.code, event.reason || 'connection lost');
    this.watch();
  }

  /** What was of the last connection. @private */
  forget() {
    this.channels.clear();
    for (const retry of this.retries) clearTimeout(retry);
    this.retries.clear();
    this.greeted = this.healthy = false;
    this.goingAwayMs = null;
    this.silenceMs = FIRST_SILENCE_MS;
    for (const subscription of this.subscriptions) {
      subscription.id = null;
      subscription.state = 'idle';
    }
  }

  /** Browsers cannot see websocket pings: without heartbeats the connection is taken for dead. @private */
  watch() {
    clearTimeout(this.watcher);
    this.watcher = setTimeout(() => this.leave('nothing came, not even a heartbeat'), this.silenceMs);
  }

  /** Give this connection up, and make it anew. @private @param {string} why */
  leave(why) {
    const socket = this.socket;
    this.lost(null, why);
    socket.close();
  }

  /** @private @param {number | null} code @param {string} reason */
  lost(code, reason) {
    clearTimeout(this.watcher);
    this.socket = null;
    if (this.closed) return;
    if (this.healthy) this.failures = 0;
    const wait_ms = this.wait(code, this.failures, this.goingAwayMs);
    if (wait_ms === null) {
      this.fail(new CityFeedError('Stopped', `the server refuses this client: ${code} ${reason}`, code, reason));
      return;
    }
    this.failures++;
    this.healthy = false;
    this.timer = setTimeout(() => this.connect(), wait_ms);
    this.tell({ type: 'state', state: 'waiting', detail: reason, wait_ms, code, rows: [] });
  }

  /** Trying again cannot help. @private @param {CityFeedError} error */
  fail(error) {
    this.stop();
    this.tell({ type: 'state', state: 'stopped', detail: error.message, wait_ms: 0, code: null, rows: [] });
    const event = /** @type {ErrorEvent} */ ({ type: 'error', error, subscription: null, rows: [] });
    for (const subscription of this.subscriptions) subscription.listener(event);
    this.tell(event);
  }

  /** @private */
  stop() {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.watcher);
    globalThis.removeEventListener?.('online', this.online);
    this.forget();
    this.socket?.close();
    this.socket = null;
  }

  /** @private @param {Record<string, any>} message */
  say(message) {
    if (this.socket?.readyState === 1) this.socket.send(JSON.stringify(message));
  }

  /** @private @param {FeedEvent} event */
  tell(event) {
    if ('subscription' in event && event.subscription && event.type !== 'error') event.subscription.listener(event);
    this.listener(event);
  }

  // -- subscriptions --------------------------------------------------------------------------------------

  /** @private @param {Subscription} subscription */
  add(subscription) {
    this.subscriptions.add(subscription);
    if (this.greeted) this.ask(subscription);
    return subscription;
  }

  /** @private @param {Subscription} subscription */
  ask(subscription) {
    subscription.id = ++this.lastId;
    subscription.state = 'asked';
    subscription.parts = 0;
    this.say(subscription.request(subscription.id));
  }

  /** @private @param {unknown} id */
  ofId(id) {
    return [...this.subscriptions].find((s) => s.id !== null && s.id === id) ?? null;
  }

  // -- messages -------------------------------------------------------------------------------------------

  /** @private @param {string} text */
  hear(text) {
    this.watch();
    /** @type {any} */
    let message;
    try {
      message = JSON.parse(text);
      if (typeof message.type !== 'string') throw new TypeError('a message has a type');
    } catch (error) {
      this.fail(new CityFeedError('NotALiveFeed', `what comes is not ${SUBPROTOCOL}: ${error}`));
      return;
    }
    if (message.type !== 'welcome' && message.type !== 'going_away') this.healthy = true;
    switch (message.type) {
      case 'welcome': return this.welcomed(message);
      case 'subscribed': return this.subscribed(message);
      case 'snapshot': return this.snapshot(message);
      case 'data': return this.rows(message, message.d, message.n_conflated ?? 0);
      case 'event': return this.rows(message, [message.d], 0);
      case 'replayed': return this.replayed(message);
      case 'hb': return this.heartbeat(message);
      case 'status':
        return this.tell({
          type: 'source', source: message.source, updated: message.updated ?? null,
          last_error: message.last_error ?? null, rows: [],
        });
      case 'error': return this.problem(message);
      case 'going_away': this.goingAwayMs = message.reconnect_in_ms;
      // what we do not know, we ignore: v1 grows by addition
    }
  }

  /** @private @param {any} message */
  welcomed(message) {
    this.greeted = true;
    this.silenceMs = HEARTBEATS_MISSED * 1000 * message.hb_s;
    this.watch();
    for (const subscription of [...this.subscriptions]) this.ask(subscription);
    this.tell({ type: 'state', state: 'live', detail: message.node ?? '', wait_ms: 0, code: null, rows: [] });
  }

  /** @private @param {any} message */
  subscribed(message) {
    const subscription = this.ofId(message.id);
    if (!subscription) return;
    this.channels.set(message.ch, subscription);
    subscription.seq = message.seq;
    const recovered = message.recovered ?? null;
    if (recovered === false) {
      subscription.cursor = null;
      subscription.state = 'snapshot';
      subscription.revs.clear();
      const { reason = 'unknown', history = [] } = message;
      this.tell({ type: 'reset', subscription, reason, history, rows: [] });
    } else if (recovered === null && subscription.snapshot) {
      subscription.state = 'snapshot';
    } else {
      subscription.state = 'live';
      if (recovered === null && !subscription.past) subscription.cursor = message.cursor;
    }
  }

  /** @private @param {any} message */
  snapshot({ ch, part, last, cursor, d }) {
    const subscription = this.channels.get(ch);
    if (!subscription || subscription.state === 'asked') return;
    subscription.parts++;
    if (last) {
      subscription.state = 'live';
      subscription.cursor = cursor;
    }
    this.tell({ type: 'snapshot', subscription, part, last, rows: subscription.fresh(d) });
  }

  /** @private @param {any} message @param {Row[]} found @param {number} n_conflated */
  rows({ ch, seq, cursor, replay = false }, found, n_conflated) {
    const subscription = this.channels.get(ch);
    if (!subscription || subscription.state === 'asked') return; // of the subscription before, on the same channel
    if (seq[0] !== subscription.seq + 1) return this.gap(subscription, seq[0]);
    subscription.seq = seq[1];
    subscription.gaps = 0;
    if (subscription.state === 'snapshot' && !subscription.parts) subscription.state = 'live'; // this topic has none
    if (subscription.state === 'live') subscription.cursor = cursor;
    const rows = subscription.fresh(found);
    if (rows.length || n_conflated || !found.length) {
      this.tell({ type: 'rows', subscription, rows, seq, cursor, n_conflated, replay });
    }
  }

  /** @private @param {Subscription} subscription @param {number} found */
  gap(subscription, found) {
    const expected = subscription.seq + 1;
    if (++subscription.gaps >= MOST_GAPS) {
      subscription.gaps = 0;
      this.tell({ type: 'gap', subscription, expected, found, rows: [] });
      this.leave('gaps without end');
      return;
    }
    this.say({ type: 'unsubscribe', id: subscription.id });
    this.ask(subscription);
    this.tell({ type: 'gap', subscription, expected, found, rows: [] });
  }

  /** @private @param {any} message */
  replayed({ ch, cursor = null }) {
    const subscription = this.channels.get(ch);
    if (!subscription?.past) return;
    subscription.cursor = cursor ?? subscription.cursor;
    if ('to' in subscription.past) {
      this.subscriptions.delete(subscription);
      this.channels.delete(ch);
      subscription.id = null;
      subscription.state = 'ended';
    } else {
      subscription.past = null; // from here on it is live, and is resumed as such
    }
    this.tell({ type: 'replay_end', subscription, cursor, rows: [] });
  }

  /** @private @param {any} message */
  heartbeat({ t, cursors = {}, lag_ms = 0 }) {
    for (const [ch, cursor] of Object.entries(cursors)) {
      const subscription = this.channels.get(Number(ch));
      if (subscription?.state === 'live' && !subscription.past) subscription.cursor = /** @type {string} */ (cursor);
    }
    this.tell({ type: 'heartbeat', t, lag_ms, rows: [] });
  }

  /** @private @param {any} message */
  problem({ id, code, msg = '', retry_after_ms = null }) {
    const subscription = this.ofId(id);
    if (subscription && retry_after_ms === null) {
      this.subscriptions.delete(subscription);
      subscription.id = null;
      subscription.state = 'ended';
      const error = new CityFeedError('SubscriptionRefused', `${msg} (${code})`, code);
      const event = /** @type {ErrorEvent} */ ({ type: 'error', error, subscription, rows: [] });
      subscription.listener(event);
      this.tell(event);
      return;
    }
    if (subscription) {
      subscription.id = null;
      const retry = setTimeout(() => {
        this.retries.delete(retry);
        if (this.subscriptions.has(subscription)) this.ask(subscription);
      }, retry_after_ms);
      this.retries.add(retry);
    }
    this.tell({ type: 'problem', code, message: msg, subscription, retry_after_ms, rows: [] });
  }
}

/**
 * Pages of history, in order: `{rows, next, cursor, meta}`; the last page's `cursor` can be given to `subscribe`. A
 * server that is busy for a moment is asked again as its Retry-After says, a few times.
 * @param {string} url the server's
 * @param {string} dataset
 * @param {'readings' | 'windows' | 'index'} [kind]
 * @param {Record<string, string | number | (string | number)[]>} [query] the API's: metric, sensor, from, to, width ...
 * @returns {AsyncGenerator<{rows: Row[], next: string | null, cursor: string | null, meta: Record<string, any>}>}
 */
export async function* history(url, dataset, kind = 'readings', query = {}) {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    const values = name === 'bbox' && Array.isArray(value) ? [value.join(',')] : [value].flat();
    for (const one of values) asked.append(name, String(one));
  }
  const words = String(asked) ? `?${asked}` : '';
  /** @type {string | null} */
  let next = `${baseUrl(url)}/v1/${encodeURIComponent(dataset)}/${kind}${words}`;
  while (next) {
    /** @type {any} */
    const found = await page(next);
    next = found.next ?? null;
    yield { rows: found.data, next, cursor: found.meta?.cursor ?? null, meta: found.meta ?? {} };
  }
}

/** @param {string} url @param {number} triesLeft @returns {Promise<any>} */
async function page(url, triesLeft = 3) {
  /** @type {Response | null} */
  let answer = null;
  let said = '';
  try {
    answer = await fetch(url, { headers: { accept: 'application/json' } });
    const found = await answer.json();
    if (answer.ok && Array.isArray(found?.data)) return found;
    said = found?.detail ?? found?.title ?? '';
  } catch (error) {
    said = answer ? '' : String(error);
  }
  const status = answer?.status ?? 0;
  if (triesLeft && [0, 429, 502, 503, 504].includes(status)) {
    const wait = Math.min(30, Number(answer?.headers.get('retry-after') ?? 1)) || 0;
    await new Promise((resolve) => { setTimeout(resolve, 1000 * wait); });
    return page(url, triesLeft - 1);
  }
  throw new CityFeedError('HistoryError', said || `${url} answers ${status}, and not with a page of rows`, status);
}

/** @param {string} url */
function baseUrl(url) {
  const parts = new URL(url);
  const scheme = /** @type {Record<string, string>} */ ({ 'http:': 'http', 'https:': 'https', 'ws:': 'http', 'wss:': 'https' })[parts.protocol];
  if (!scheme) throw new TypeError(`${url} is no address of a server: it takes http://host:port or ws://host:port`);
  if (parts.search || parts.hash || parts.username) {
    throw new TypeError("a server's address has no query, fragment or user; a token is an option");
  }
  const path = parts.pathname.replace(/\/+$/, '');
  return `${scheme}://${parts.host}${path.endsWith(LIVE_PATH) ? path.slice(0, -LIVE_PATH.length) : path}`;
}

/** @param {string} url */
function liveUrl(url) {
  return `ws${baseUrl(url).slice('http'.length)}${LIVE_PATH}`;
}

/** @param {string | Date} value */
function timeOf(value) {
  return value instanceof Date ? value.toISOString() : value;
}
