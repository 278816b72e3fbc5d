// The npm package ws as a client of the engine and as a server for loadgen.
//
//     ws_peer.js client URL      an echo server's
//     ws_peer.js compressed URL  the same, where the server agrees to compress
//     ws_peer.js broadcast URL   a broadcast server's
//     ws_peer.js server [CERT KEY]
//                                echoes, in TLS with the two files; prints "listening on ADDRESS:PORT"
//                                or with wss:// before it
//     ws_peer.js compressing     the same, for clients that compress; others are refused
//
// Authorities for wss URLs are those that NODE_EXTRA_CA_CERTS names.

'use strict';

const assert = require('node:assert');
const crypto = require('node:crypto');
const { once } = require('node:events');
const fs = require('node:fs');
const https = require('node:https');
const WebSocket = require('ws');

const patience = setTimeout(() => { console.error('too slow'); process.exit(1); }, 60_000);
const options = { perMessageDeflate: false, maxPayload: 64 << 20 };

async function open(url, more = {}) {
  const ws = new WebSocket(url, { ...options, ...more });
  await once(ws, 'open');
  return ws;
}

async function compressed(url) {
  await echoes(url, { perMessageDeflate: { threshold: 0 } });
}

async function echoes(url, more) {
  const ws = await open(url, more);
  assert.strictEqual(ws.extensions !== '', more !== undefined);
  for (const length of [0, 1, 125, 126, 65535, 65536, 1 << 20]) {
    const binary = crypto.randomBytes(length);
    ws.send(binary);
    let [data, isBinary] = await once(ws, 'message');
    assert(isBinary && data.equals(binary), `${length} bytes`);
    const text = 'Grüße, 世界 😀 '.repeat(length / 40);
    ws.send(text);
    [data, isBinary] = await once(ws, 'message');
    assert(!isBinary && data.toString() === text, `${length} letters`);
  }
  ws.send('frag', { fin: false });
  ws.send('men', { fin: false });
  ws.send('ted', { fin: true });
  assert.strictEqual((await once(ws, 'message'))[0].toString(), 'fragmented');
  ws.ping('are you there?');
  assert.strictEqual((await once(ws, 'pong'))[0].toString(), 'are you there?');
  ws.close(4002, 'enough');
  const [code] = await once(ws, 'close');
  assert.strictEqual(code, 4002);
  console.log('echo ok');
}

async function broadcasts(url) {
  const [one, two, three] = [await open(url), await open(url), await open(url)];
  const heard = [two, three].map((ws) => once(ws, 'message'));
  one.send('from one');
  for (const [data] of await Promise.all(heard)) assert.strictEqual(data.toString(), 'from one');
  for (const ws of [one, two, three]) { ws.close(); await once(ws, 'close'); }
  console.log('broadcast ok');
}

function compressing() {
  serve({ host: '127.0.0.1', port: 0, perMessageDeflate: { threshold: 0 } });
}

function server(cert, key) {
  const tls = cert && https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) });
  serve(tls ? { server: tls } : { host: '127.0.0.1', port: 0 });
  if (tls) tls.listen(0, '127.0.0.1');
}

function serve(more) {
  clearTimeout(patience);
  const running = new WebSocket.Server({ ...options, ...more });
  running.on('listening', () => {
    const { address, port } = running.address();
    console.log(`listening on ${more.server ? 'wss://' : ''}${address}:${port}`);
  });
  running.on('connection', (ws) => {
    if (more.perMessageDeflate && ws.extensions === '') ws.close(1008, 'compression was not offered');
    ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }));
    ws.on('error', () => {});
  });
  process.on('SIGTERM', () => process.exit(0));
}

const [mode, ...rest] = process.argv.slice(2);
const run = { client: (to) => echoes(to), compressed, broadcast: broadcasts, server, compressing }[mode];
Promise.resolve(run(...rest)).then(
  () => clearTimeout(patience),
  (error) => { console.error(error); process.exit(1); },
);
