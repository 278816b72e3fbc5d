// The npm package ws, with the native masking that its authors recommend (bufferutil).
//
//     server.js echo | broadcast      prints "listening on ADDRESS:PORT"

'use strict';

const WebSocket = require('ws');

const work = process.argv[2];
if (!['echo', 'broadcast'].includes(work)) {
  console.error('one argument is needed, echo or broadcast');
  process.exit(2);
}

const server = new WebSocket.Server({
  host: '127.0.0.1', port: 0, perMessageDeflate: false, maxPayload: 64 << 20, backlog: 4096,
});
server.on('listening', () => {
  const { address, port } = server.address();
  console.log(`listening on ${address}:${port}`);
});

const rooms = new Map();

function join(ws, path) {
  if (!rooms.has(path)) rooms.set(path, new Set());
  const room = rooms.get(path);
  room.add(ws);
  ws.on('message', (data, binary) => {
    for (const other of room) if (other !== ws) other.send(data, { binary });
  });
  ws.on('close', () => {
    room.delete(ws);
    if (room.size === 0) rooms.delete(path);
  });
}

server.on('connection', (ws, request) => {
  ws.on('error', () => {});
  if (work === 'broadcast') join(ws, request.url);
  else ws.on('message', (data, binary) => ws.send(data, { binary }));
});
process.on('SIGTERM', () => process.exit(0));
