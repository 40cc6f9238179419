// The client through the recorded conversations of clients/conversations, against their scripted server.
//
//   node --test           PYTHON: a Python with `websockets` (python3); CITYFEED_NODE_MODULES: where the package `ws` is,
//                         for a Node without a WebSocket of its own

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CityFeed, CityFeedError, history, waitMs } from '../cityfeed.js';

const CONVERSATIONS = join(dirname(fileURLToPath(import.meta.url)), '../../conversations');
const TOLD = ['snapshot', 'rows', 'reset', 'gap', 'replay_end', 'problem', 'source'];
const PATIENCE_MS = 5000;
const folder = process.env.CITYFEED_NODE_MODULES;
const WebSocket = globalThis.WebSocket ?? createRequire(join(folder ?? '.', 'x.js'))('ws');

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
let server, port;

before(async () => {
  server = spawn(process.env.PYTHON ?? 'python3', [join(CONVERSATIONS, 'server.py')], { stdio: ['pipe', 'pipe', 'inherit'] });
  port = await new Promise((resolve, reject) => {
    server.stdout.once('data', (data) => resolve(Number(String(data))));
    server.once('exit', () => reject(new Error('the scripted server did not start')));
  });
});

after(() => server.kill());

/** Whether everything wanted is there. */
function covers(wanted, found) {
  if (Array.isArray(wanted)) {
    return Array.isArray(found) && wanted.length === found.length && wanted.every((item, i) => covers(item, found[i]));
  }
  if (wanted === null || typeof wanted !== 'object') return wanted === found;
  return found !== null && typeof found === 'object' && Object.entries(wanted).every(([key, item]) => covers(item, found[key]));
}

for (const name of readdirSync(CONVERSATIONS).filter((file) => file.endsWith('.json')).map((file) => file.slice(0, -5))) {
  test(name, async () => {
    const wanted = JSON.parse(readFileSync(join(CONVERSATIONS, `${name}.json`), 'utf-8'));
    const told = { events: [], waits: [], error: null };
    const names = new Map();
    const feed = new CityFeed(`http://127.0.0.1:${port}/${name}/js`, {
      WebSocket,
      client: 'test',
      wait(code, failures, goingAwayMs) {
        const ms = waitMs(code, failures, goingAwayMs);
        if (ms !== null) told.waits.push([code, ms / 1000]);
        return ms === null ? null : 0;
      },
      listener(event) {
        if (event.type === 'error') told.error = { kind: event.error.name, code: event.error.code, reason: event.error.reason };
        if (!TOLD.includes(event.type)) return;
        const noted = { ...event, subscription: names.get(event.subscription) };
        if ('retry_after_ms' in event) noted.retry_after_s = event.retry_after_ms === null ? null : event.retry_after_ms / 1000;
        told.events.push(noted);
      },
    });
    for (const { name: as, replay, filter, ...words } of wanted.subscriptions) {
      const made = replay ? feed.replay({ topic: words.topic, filter, ...replay }) : feed.subscribe({ ...words, filter });
      names.set(made, as);
    }
    const verdict = await (await fetch(`http://127.0.0.1:${port}/${name}/js/verdict`)).json();
    const through = () => told.events.length >= wanted.events.length && told.waits.length >= wanted.waits.length
      && (wanted.error === null || told.error !== null);
    for (let waited = 0; waited < PATIENCE_MS && !through(); waited += 10) await pause(10);
    await pause(50);
    feed.close();
    assert.equal(verdict.problem, null);
    assert.ok(wanted.error === null ? told.error === null : covers(wanted.error, told.error), JSON.stringify(told.error));
    assert.equal(told.events.length, wanted.events.length, JSON.stringify(told.events));
    wanted.events.forEach((event, i) => assert.ok(covers(event, told.events[i]), `${JSON.stringify(told.events[i])}\nis not\n${JSON.stringify(event)}`));
    assert.equal(told.waits.length, wanted.waits.length, JSON.stringify(told.waits));
    wanted.waits.forEach(({ code, low_s: low, high_s: high }, i) => {
      // a browser does not see the status of a refused handshake
      assert.ok(code === 'any' || code === told.waits[i][0], JSON.stringify(told.waits));
      assert.ok(told.waits[i][1] >= low && told.waits[i][1] <= high, JSON.stringify(told.waits));
    });
  });
}

test('a subscription hears its own events, and nothing once it is closed', async () => {
  const heard = [];
  const feed = new CityFeed(`ws://127.0.0.1:${port}/normal/own/v1/live`, { WebSocket, client: 'test' });
  const wanted = { topic: 'readings', mode: 'all', filter: { dataset: ['air-quality'], metric: ['pm25'] } };
  const subscription = feed.subscribe(wanted, (event) => {
    heard.push(event.type);
    if (event.type === 'rows') subscription.close();
  });
  for (let waited = 0; waited < PATIENCE_MS && !heard.includes('rows'); waited += 10) await pause(10);
  await pause(50);
  feed.close();
  assert.deepEqual(heard, ['snapshot', 'snapshot', 'rows']);
});

test('a Node without a WebSocket says what to do, and mistakes are told at once', () => {
  const own = globalThis.WebSocket;
  delete globalThis.WebSocket;
  try {
    assert.throws(() => new CityFeed('http://127.0.0.1:1'), /pass \{ WebSocket \}/);
  } finally {
    if (own) globalThis.WebSocket = own;
  }
  for (const url of ['ftp://a', 'http://a?token=x', 'http://me:secret@a']) {
    assert.throws(() => new CityFeed(url, { WebSocket }), TypeError);
  }
  const feed = new CityFeed('http://127.0.0.1:1', { WebSocket });
  assert.throws(() => feed.replay({ since: '2026-01-01T00:00:00Z', speed: 0 }), RangeError);
  feed.close();
});

test('what is remembered for repeats is bounded, and the oldest are forgotten first', () => {
  const feed = new CityFeed('http://127.0.0.1:1', { WebSocket });
  const subscription = feed.subscribe({ topic: 'windows' });
  const rows = Array.from({ length: 100_010 }, (_, i) => ({ sensor: String(i), rev: 1 }));
  assert.equal(subscription.fresh(rows).length, rows.length);
  assert.equal(subscription.revs.size, 100_000);
  assert.equal(subscription.fresh(rows.slice(20)).length, 0);
  assert.equal(subscription.fresh(rows.slice(0, 1)).length, 1);
  feed.close();
});

test('history follows next, waits for a busy server, and tells a refusal in the server’s words', async () => {
  const answers = [], asked = [];
  const web = createServer((request, response) => {
    asked.push(request.url);
    const [status, body] = answers.shift();
    response.writeHead(status, { 'retry-after': '0' }).end(JSON.stringify(body));
  });
  await new Promise((resolve) => { web.listen(0, '127.0.0.1', resolve); });
  const url = `http://127.0.0.1:${web.address().port}`;
  try {
    answers.push([503, {}], [200, { data: [{ value: 1 }], next: `${url}/v1/x/windows?cursor=p2` }]);
    answers.push([200, { data: [{ value: 2 }], next: null, meta: { cursor: 'end' } }]);
    const pages = [];
    for await (const page of history(url, 'x', 'windows', { metric: ['pm25', 'no2'], bbox: [1, 2, 3, 4], width: '1h' })) pages.push(page);
    assert.deepEqual(pages.flatMap((page) => page.rows.map((row) => row.value)), [1, 2]);
    assert.equal(pages[1].cursor, 'end');
    assert.equal(asked[0], '/v1/x/windows?metric=pm25&metric=no2&bbox=1%2C2%2C3%2C4&width=1h');
    assert.equal(asked[2], '/v1/x/windows?cursor=p2');
    answers.push([404, { detail: 'There is no dataset.' }]);
    await assert.rejects(history(url, 'y').next(), (error) => error instanceof CityFeedError && /There is no dataset/.test(error.message));
  } finally {
    web.close();
  }
});
