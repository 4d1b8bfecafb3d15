// What node's network modules do: node probe_node.js all|serve|ask ADDRESS DIRECTORY-WITH-KEY-AND-CERTIFICATE
'use strict';
const net = require('net'), http = require('http'), http2 = require('http2'), dgram = require('dgram'), tls = require('tls');
const fs = require('fs'), crypto = require('crypto'), dns = require('dns');
const {once} = require('events'), {fork} = require('child_process');
const [mode, host, where] = process.argv.slice(2);
const big = Buffer.alloc(4 << 20, 'abcdefghij');
const PORT = 9200;
const sha = b => crypto.createHash('sha256').update(b).digest('hex').slice(0, 16);
const all = async stream => { const parts = []; for await (const d of stream) parts.push(d); return Buffer.concat(parts); };
const whole = async stream => sha(await all(stream)) == sha(big);
const memory = {maxSessionMemory: 2000, settings: {initialWindowSize: 1 << 20}};

async function serve() {
  const key = fs.readFileSync(where + '/key.pem'), cert = fs.readFileSync(where + '/cert.pem');
  const servers = [];
  const listen = async (s, n) => { s.listen(PORT + n, host); await once(s, 'listening'); servers.push(s); };
  await listen(net.createServer({allowHalfOpen: true}, c => { const parts = []; c.on('error', () => {}); c.on('data', d => parts.push(d)); c.on('end', () => c.end(sha(Buffer.concat(parts)))); }), 0);
  const web = http.createServer((q, r) => { if (q.url == '/big') r.end(big); else q.pipe(r); });
  web.on('upgrade', (q, c) => { c.write('HTTP/1.1 101 Switching\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n'); c.pipe(c); });
  await listen(web, 1);
  for (const [n, s] of [[2, http2.createServer(memory)], [3, http2.createSecureServer({key, cert, ...memory})]]) {
    s.on('stream', (st, h) => { st.respond({':status': 200}); if (h[':path'] == '/big') st.end(big); else st.pipe(st); });
    await listen(s, n);
  }
  await listen(tls.createServer({key, cert}, c => { c.on('error', () => {}); c.pipe(c); }), 4);
  const u = dgram.createSocket('udp4');
  u.on('message', (m, r) => u.send(m.toString().toUpperCase(), r.port, r.address));
  u.bind(PORT, host); await once(u, 'listening');
  await listen(net.createServer(c => c.pipe(c)), 5);
  console.log('up');
  return () => { for (const s of servers) s.close(); u.close(); web.closeAllConnections(); };
}

async function ask(host) {
  const many = [];
  for (let i = 0; i < 20; i++) many.push((async () => {
    const c = net.connect({port: PORT, host, allowHalfOpen: true}); c.setNoDelay(true); c.setKeepAlive(true, 1000);
    c.end(big.subarray(0, i * 100000)); return String(await all(c)) == sha(big.subarray(0, i * 100000)); })());
  console.log('net', (await Promise.all(many)).every(x => x));
  const idle = net.connect(PORT, host); idle.setTimeout(300); await once(idle, 'timeout'); console.log('timeout', idle.remoteFamily); idle.destroy();
  const none = net.connect(1, host); const [e] = await once(none, 'error'); console.log(e.code, e.syscall);
  const r = net.connect(PORT, host); await once(r, 'connect'); r.resetAndDestroy(); await once(r, 'close');
  const agent = new http.Agent({keepAlive: true, maxSockets: 4});
  const get = (path, body) => new Promise((ok, no) => { const q = http.request({host, port: PORT + 1, path, agent, method: body ? 'POST' : 'GET'}, r => ok(whole(r))); q.on('error', no); q.end(body); });
  console.log('http', (await Promise.all([...Array(20).keys()].map(i => i % 2 ? get('/big') : get('/echo', big)))).every(x => x));
  const q = http.request({host, port: PORT + 1, headers: {Connection: 'Upgrade', Upgrade: 'echo'}}); q.end();
  const [up, sock] = await once(q, 'upgrade'); sock.write('hi'); console.log('upgrade', up.statusCode, String((await once(sock, 'data'))[0])); sock.destroy();
  const stop = new AbortController(), q2 = http.get({host, port: PORT + 1, path: '/big', signal: stop.signal}); q2.on('response', () => stop.abort());
  console.log((await once(q2, 'error'))[0].name); agent.destroy();
  for (const secure of [false, true]) {
    const c = http2.connect(`${secure ? 'https' : 'http'}://${host}:${PORT + 2 + secure}`, {rejectUnauthorized: false, ...memory}); await once(c, 'connect');
    const one = (path, body) => { const q = c.request({':path': path, ':method': body ? 'POST' : 'GET'}); q.end(body); return whole(q); };
    const res = await Promise.all([...Array(12).keys()].map(i => i % 2 ? one('/big') : one('/echo', big)));
    console.log('http2', res.every(x => x), await new Promise(ok => c.ping((e, d, p) => ok(!e && p.length))), c.alpnProtocol);
    c.close(); await once(c, 'close');
  }
  const t = tls.connect({port: PORT + 4, host, rejectUnauthorized: false}); await once(t, 'secureConnect'); t.end(big); console.log('tls', await whole(t));
  const u = dgram.createSocket({type: 'udp4', recvBufferSize: 50000}); u.connect(PORT, host); await once(u, 'connect');
  for (let tries = 0; ; tries++) { u.send('hello'); const got = await Promise.race([once(u, 'message'), new Promise(ok => setTimeout(ok, 2000))]); if (got) { console.log('udp', String(got[0]), u.getRecvBufferSize(), u.remoteAddress().address == host); break; } }
  u.setTTL(10); u.setBroadcast(true); u.setMulticastTTL(3); u.setMulticastLoopback(true); u.close();
  const z = dgram.createSocket('udp4'); z.connect(9, host); await once(z, 'connect'); z.send('x'); const [ze] = await once(z, 'error'); console.log(ze.code, ze.syscall); z.close();
}

async function inside() {
  const path = fs.mkdtempSync('/tmp/node-') + '/s', u = net.createServer(c => c.pipe(c)); u.listen(path); await once(u, 'listening');
  const uc = net.connect(path); uc.end(big); console.log('unix', await whole(uc)); u.close(); fs.rmSync(path.slice(0, -2), {recursive: true});
  const six = net.createServer(); six.listen(0, '::1'); await once(six, 'listening'); console.log(six.address().family, six.address().address); six.close();
  const a = net.createServer(), b = net.createServer(); a.listen(0, '127.0.0.1'); await once(a, 'listening'); b.listen(a.address().port, '127.0.0.1'); console.log((await once(b, 'error'))[0].code); a.close();
  const both = net.connect({host: 'localhost', port: 1, autoSelectFamily: true}); console.log((await once(both, 'error'))[0].code);
  console.log((await dns.promises.lookup('localhost', {family: 4})).address);
  // A server handed to a child
  const child = fork(process.argv[1], ['child']), s = net.createServer(); s.listen(0, '127.0.0.1'); await once(s, 'listening');
  await once(child, 'message'); child.send('server', s); await once(child, 'message'); const port = s.address().port; s.close();
  console.log('handed over', String(await all(net.connect(port, '127.0.0.1')))); child.kill(); await once(child, 'exit');
}

if (mode == 'child') {
  process.on('message', (m, s) => { s.on('connection', c => c.end('by the child')); process.send('ok'); });
  process.send('up');
} else {
  (async () => {
    const close = mode == 'ask' ? null : await serve();
    if (mode == 'serve') return;
    await ask(host);
    if (mode == 'all') { close(); await inside(); }
    process.exit(0);
  })().catch(e => { console.log('FAILED', e); process.exit(1); });
}
