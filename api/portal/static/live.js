// A client of the live feed, cityfeed.v1.json: hello, subscriptions of mode `latest` with a snapshot, heartbeats.
// A gap in the sequence subscribes again; a lost connection comes back with jitter; stale sockets are noticed by
// the heartbeats that do not come (browsers cannot see websocket pings).

const STOP = 4000, BACK_OFF = 4100, COME_BACK = 4200;

export class Live {
  /** `on.state(name)` hears connecting, live, reconnecting, stopped; `on.status(message)` the server's word on a source. */
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.wishes = new Map(); // name -> {request, rows}
    this.channels = new Map(); // ch -> {name, seq}
    this.ids = new Map(); // subscription id -> name
    this.lastId = 0;
    this.failures = 0;
    this.waitMs = null;
    this.timer = null;
    addEventListener('online', () => this.hurry());
    document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && this.hurry());
    this.connect();
  }

  /** Subscribe under a name, in place of what had it; `rows(rows, {snapshot})` hears what comes. */
  want(name, request, rows) {
    this.drop(name);
    this.wishes.set(name, { request, rows });
    if (this.welcomed) this.subscribe(name);
  }

  /** End what has this name. */
  drop(name) {
    this.wishes.delete(name);
    for (const [id, known] of this.ids) {
      if (known !== name) continue;
      this.ids.delete(id);
      if (this.welcomed) this.say({ type: 'unsubscribe', id });
    }
    for (const [ch, known] of this.channels) if (known.name === name) this.channels.delete(ch);
  }

  connect() {
    clearTimeout(this.timer);
    this.timer = null;
    this.channels.clear();
    this.ids.clear();
    this.welcomed = false;
    this.silence = 20_000;
    const socket = this.socket = new WebSocket(this.url, 'cityfeed.v1.json');
    socket.onopen = () => this.say({ type: 'hello', client: 'portal' });
    socket.onmessage = (event) => this.socket === socket && this.hear(JSON.parse(event.data));
    socket.onclose = (event) => this.socket === socket && this.lost(event.code);
    this.watch();
  }

  hear(message) {
    this.watch();
    const handler = this[`on_${message.type}`];
    if (handler) handler.call(this, message); // what we do not know, we ignore: v1 grows by addition
  }

  on_welcome(message) {
    this.welcomed = true;
    this.failures = 0;
    this.silence = message.hb_s * 2500;
    for (const name of this.wishes.keys()) this.subscribe(name);
    this.on.state('live');
  }

  on_subscribed(message) {
    const name = this.ids.get(message.id);
    if (name !== undefined) this.channels.set(message.ch, { name, seq: message.seq });
  }

  on_snapshot(message) {
    this.hand(this.channels.get(message.ch), message.d, true);
  }

  on_data(message) {
    const channel = this.channels.get(message.ch);
    if (!channel) return;
    if (message.seq[0] !== channel.seq + 1) { // something is missing: a fresh snapshot has it
      const { request, rows } = this.wishes.get(channel.name);
      this.want(channel.name, request, rows);
      return;
    }
    channel.seq = message.seq[1];
    this.hand(channel, message.d, false);
  }

  on_status(message) { this.on.status(message); }
  on_error(message) { console.warn('live feed:', message.code, message.msg); }
  on_going_away(message) { this.waitMs = message.reconnect_in_ms; }

  hand(channel, rows, snapshot) {
    const wish = channel && this.wishes.get(channel.name);
    if (wish) wish.rows(rows, { snapshot });
  }

  subscribe(name) {
    const id = ++this.lastId;
    this.ids.set(id, name);
    this.say({ type: 'subscribe', id, ...this.wishes.get(name).request });
  }

  say(message) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  watch() {
    clearTimeout(this.watcher);
    this.watcher = setTimeout(() => { this.socket.close(); this.lost(0); }, this.silence);
  }

  lost(code) {
    clearTimeout(this.watcher);
    this.socket.onclose = null;
    this.welcomed = false;
    if (code >= STOP && code < BACK_OFF) return this.on.state('stopped');
    const calm = code >= BACK_OFF && code < COME_BACK ? 5 : 1;
    const backOffMs = Math.min(30_000, 500 * calm * 2 ** this.failures++) * (0.5 + Math.random());
    this.timer = setTimeout(() => this.connect(), this.waitMs ?? backOffMs);
    this.waitMs = null;
    this.on.state('reconnecting');
  }

  hurry() {
    if (this.timer !== null) this.connect();
  }
}
