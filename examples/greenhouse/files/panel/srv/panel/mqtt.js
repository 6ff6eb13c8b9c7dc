// A client of MQTT 3.1.1 over WebSocket that subscribes and listens at quality
// of service 0 (OASIS, "MQTT Version 3.1.1", sections 2, 3 and 6), and connects
// again when the connection breaks.

const CONNECT = 0x10, CONNACK = 2, PUBLISH = 3, SUBSCRIBE = 0x82, PINGREQ = 0xc0;
const KEEP_ALIVE = 30; // seconds

const text = new TextEncoder();
const words = new TextDecoder();

function string(s) {
  const b = text.encode(s);
  return [b.length >> 8, b.length & 255, ...b];
}

function packet(type, body) {
  const head = [type];
  let n = body.length;
  do {
    const low = n % 128;
    n = Math.floor(n / 128);
    head.push(n > 0 ? low | 128 : low);
  } while (n > 0);
  return new Uint8Array([...head, ...body]);
}

// split cuts whole packets off the front of a buffer and returns the rest.
export function split(buffer, each) {
  for (;;) {
    let length = 0, at = 1, shift = 1, done = false;
    for (; at < buffer.length && at <= 4 && !done; at++) {
      length += (buffer[at] & 127) * shift;
      shift *= 128;
      done = buffer[at] < 128;
    }
    if (!done || buffer.length < at + length) return buffer;
    each(buffer[0], buffer.subarray(at, at + length));
    buffer = buffer.subarray(at + length);
  }
}

// message reads the body of a PUBLISH packet.
export function message(first, body) {
  const length = body[0] << 8 | body[1];
  const skip = (first & 6) ? 2 : 0; // the packet identifier of higher qualities of service
  return { topic: words.decode(body.subarray(2, 2 + length)), payload: words.decode(body.subarray(2 + length + skip)) };
}

export function listen(url, topics, { onMessage, onState }) {
  let pause = 500; // milliseconds before the next attempt
  function connect() {
    const ws = new WebSocket(url, ["mqtt"]);
    let rest = new Uint8Array(), pings;
    ws.binaryType = "arraybuffer";
    ws.onopen = () => {
      const id = "panel-" + Math.random().toString(36).slice(2, 12);
      ws.send(packet(CONNECT, [...string("MQTT"), 4, 2, KEEP_ALIVE >> 8, KEEP_ALIVE & 255, ...string(id)]));
    };
    ws.onmessage = (event) => {
      const more = new Uint8Array(event.data), all = new Uint8Array(rest.length + more.length);
      all.set(rest);
      all.set(more, rest.length);
      rest = split(all, (first, body) => {
        if (first >> 4 === CONNACK && body[1] === 0) {
          pause = 500;
          ws.send(packet(SUBSCRIBE, [0, 1, ...topics.flatMap((t) => [...string(t), 0])]));
          pings = setInterval(() => ws.send(packet(PINGREQ, [])), KEEP_ALIVE * 500);
          onState("live");
        } else if (first >> 4 === PUBLISH) {
          onMessage(message(first, body));
        }
      });
    };
    ws.onclose = () => {
      clearInterval(pings);
      onState("waiting");
      setTimeout(connect, pause);
      pause = Math.min(2 * pause, 8000);
    };
  }
  connect();
}
