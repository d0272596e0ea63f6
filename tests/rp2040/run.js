// Runs the firmware image of the board rp2040, as it is flashed, in rp2040js.
//
//   node run.js --image ELF --records FILE --socket PATH [--noise FILE]
//
// UART 0 is at a Unix socket; the latest connection has it. At PATH.control it takes orders, a line each, with which
// tests have the firmware fail:
//
//   jump ADDRESS   the program goes on there
//   circle         goes round in circles where it is, with interrupts open
//   mask           the same with interrupts closed
//   hurry N        until the next reset, the clock goes N times as fast
//
// What is left in RAM is counted at each reset. The part of the flash with the records is a file, written
// as the firmware writes it, so a run that was killed is continued by the next one.
//
// The emulator lacks what is made here: the boot ROM, with the functions that program flash; flash that cannot be
// read meanwhile; the random bit of the ring oscillator; a reset by the watchdog; and faults. It has no memory
// protection unit, and its UART no rate.

import fs from 'node:fs';
import net from 'node:net';
import { parseArgs } from 'node:util';
import { RP2040 } from 'rp2040js';

const options = { image: { type: 'string' }, records: { type: 'string' }, socket: { type: 'string' } };
const { values: given } = parseArgs({
  options: { ...options, noise: { type: 'string', default: '/dev/urandom' } },
});
for (const name of Object.keys(options)) {
  if (!given[name]) fail(`--${name} is missing`);
}

const FLASH = 0x10000000;
const FLASH_BYTES = 2 << 20;
const RAM = 0x20000000;
// The records, from the start of the flash: `memory/rp2040.x`.
const RECORDS = 0x180000;
const RECORDS_BYTES = 0x80000;
const SECTOR = 4096;
const PAGE = 256;
// The boot ROM copies the second stage there, and runs it with its stack below.
const BOOT2 = RAM + 0x41f00;
// The end of what the firmware wipes, from the start of RAM: code is behind it.
const RAM_WIPED = 0x41000;
const HARD_FAULT = 3;
const WATCHDOG = 0x40058;
const REASON_TIMER = 1;
// `b .`
const CIRCLE = 0xe7fe;
const NANOS_PER_CYCLE = 8;
// Instructions until the clock is told, and until the socket is looked at.
const BATCH = 48;
const SLICE = 200_000;
const LONGEST_SLEEP_MS = 1000;

// What the chip does instead of the next instruction.
class Fault extends Error {}
class Reset extends Error {}

function fail(message) {
  console.error(message);
  process.exit(2);
}

// The loadable parts of an ELF file, at their addresses in flash.
function flashOf(path) {
  const elf = fs.readFileSync(path);
  const flash = Buffer.alloc(FLASH_BYTES, 0xff);
  if (elf.readUInt32BE(0) !== 0x7f454c46) fail(`${path} is not an ELF file`);
  const [table, size, count] = [elf.readUInt32LE(28), elf.readUInt16LE(42), elf.readUInt16LE(44)];
  for (let n = 0; n < count; n++) {
    const header = table + n * size;
    const [offset, address, bytes] = [4, 12, 16].map((at) => elf.readUInt32LE(header + at));
    if (elf.readUInt32LE(header) !== 1 || bytes === 0) continue;
    const at = address - FLASH;
    if (at < 0 || at + bytes > RECORDS) fail(`${path} has a part at 0x${address.toString(16)}`);
    elf.copy(flash, at, offset, offset + bytes);
  }
  if (checksum(flash.subarray(0, PAGE - 4)) !== flash.readUInt32LE(PAGE - 4)) {
    fail(`the second stage in ${path} has a wrong checksum`);
  }
  return flash;
}

// CRC-32/MPEG-2, which the boot ROM demands of the second stage (data sheet, 2.8.1.3).
function checksum(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte << 24;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80000000 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  }
  return crc >>> 0;
}

function openRecords(path) {
  if (!fs.existsSync(path)) fs.writeFileSync(path, Buffer.alloc(RECORDS_BYTES, 0xff));
  if (fs.statSync(path).size !== RECORDS_BYTES) fail(`${path} does not have ${RECORDS_BYTES} bytes`);
  return fs.openSync(path, 'r+');
}

// The ring oscillator, whose random bits are those of a file.
class RingOscillator {
  #file = fs.openSync(given.noise, 'r');
  #bytes = Buffer.alloc(4096);
  #bit = this.#bytes.length * 8;

  readUint32(offset) {
    if (offset === 0x18) return 0x80001000; // STATUS: stable, enabled
    if (offset !== 0x1c) return 0;
    if (this.#bit === this.#bytes.length * 8) {
      if (fs.readSync(this.#file, this.#bytes) !== this.#bytes.length) fail(`${given.noise} has ended`);
      this.#bit = 0;
    }
    const at = this.#bit++;
    return (this.#bytes[at >> 3] >> (at & 7)) & 1;
  }

  writeUint32Atomic() {}
}

// Functions of the boot ROM, by the code they are looked up with; each is a breakpoint and a return.
const ROM_TABLE = 0x100;
const ROM_CODE = 0x200;
const ROM_END = 0x4000;
const functions = [
  ['', lookUp],
  ['IF', () => {}],
  ['EX', () => readable(false)],
  ['RE', erase],
  ['RP', program],
  ['FC', () => {}],
];

function bootRom() {
  const rom = new Uint32Array(ROM_END / 4);
  rom[0x10 >> 2] = 0x01 << 16 | 0x754d; // 'Mu', 1
  rom[0x14 >> 2] = ROM_TABLE;
  rom[0x18 >> 2] = ROM_CODE | 1;
  functions.forEach((_, n) => (rom[(ROM_CODE >> 2) + n] = 0x4770 << 16 | 0xbe00 | n));
  return rom;
}

function lookUp({ registers }) {
  const code = String.fromCharCode(registers[1] & 0xff, registers[1] >> 8);
  const found = functions.findIndex(([name]) => name === code);
  if (registers[0] !== ROM_TABLE || found < 1) throw new Fault(`the ROM has no function ${code}`);
  registers[0] = (ROM_CODE + 4 * found) | 1;
}

// Which bytes of the flash a function is to change, if it may.
function range(start, bytes, unit) {
  if (xip) fail('the flash is still read as memory');
  const end = start + bytes;
  if (start % unit || bytes % unit || start < RECORDS || end > RECORDS + RECORDS_BYTES) {
    fail(`flash from 0x${start.toString(16)} to 0x${end.toString(16)} is not the firmware's to write`);
  }
  return flash.subarray(start, end);
}

function store(start, cells) {
  fs.writeSync(records, cells, 0, cells.length, start - RECORDS);
}

function erase({ registers: [start, bytes] }) {
  store(start, range(start, bytes, SECTOR).fill(0xff));
}

function program({ registers: [start, data, bytes] }) {
  const cells = range(start, bytes, PAGE);
  if (data < RAM || data + bytes > RAM + mcu.sram.length) fail('what is programmed is not in RAM');
  const source = mcu.sram.subarray(data - RAM, data - RAM + bytes);
  cells.forEach((cell, n) => (cells[n] = cell & source[n]));
  store(start, cells);
}

// What is read of the flash: its content, or what no program survives (`udf`).
let xip = true;
const unreadable = new Uint8Array(16 << 20).fill(0xde);
let flash;
function readable(yes) {
  xip = yes;
  mcu.flash = yes ? flash : unreadable;
  mcu.flashView = new DataView(mcu.flash.buffer);
}

// Bytes from the host, and to it.
const received = [];
const sending = Buffer.alloc(1 << 16);
let sent = 0;
let connection = null;

function feed() {
  const uart = mcu.uart[0];
  while (received.length && !uart.rxFIFO.full) {
    const chunk = received[0];
    uart.feedByte(chunk.bytes[chunk.at++]);
    if (chunk.at === chunk.bytes.length) received.shift();
  }
}

function flush() {
  if (sent && connection) connection.write(Buffer.from(sending.subarray(0, sent)));
  sent = 0;
}

let mcu;
// How many times as fast the clock goes.
let hurry = 1;

// A start, as the boot ROM does it. RAM, and what a reset does not touch in the watchdog, keep what they have.
function start() {
  const { sram, peripherals } = mcu ?? {};
  mcu = new RP2040();
  if (sram) {
    const { scratchData, reason } = peripherals[WATCHDOG];
    mcu.sram.set(sram);
    mcu.peripherals[WATCHDOG].scratchData.set(scratchData);
    mcu.peripherals[WATCHDOG].reason = reason;
  }
  hurry = 1;
  flash = mcu.flash;
  flash.set(image);
  fs.readSync(records, flash, RECORDS, RECORDS_BYTES, 0);
  mcu.bootrom.set(bootRom());
  xip = true;

  mcu.logger = {
    debug() {},
    info() {},
    error: (_, message) => { throw new Fault(message); },
    // Accesses to nothing, and instructions that there are not; peripherals warn of what they leave out.
    warn(name, message) { if (name === 'RP2040' || name === 'CortexM0Core') throw new Fault(message); },
  };
  mcu.onBreak = (number) => {
    const call = mcu.core.PC < ROM_END ? functions[number] : undefined;
    if (!call) throw new Fault('undefined instruction');
    call[1](mcu.core);
  };
  mcu.peripherals[0x40060] = new RingOscillator();
  mcu.peripherals[WATCHDOG].onWatchdogTrigger = () => { throw new Reset('watchdog'); };
  // The second stage enables the interface to the flash when it has set it up.
  const flashInterface = mcu.peripherals[0x18000];
  const write = flashInterface.writeUint32;
  flashInterface.writeUint32 = function (offset, value) {
    if (offset === 0x08 && value === 1) readable(true);
    write.call(this, offset, value);
  };
  mcu.uart[0].onByte = (byte) => {
    if (sent === sending.length) flush();
    sending[sent++] = byte;
  };

  mcu.sram.set(flash.subarray(0, PAGE), BOOT2 - RAM);
  Object.assign(mcu.core, { SP: BOOT2, LR: 0, PC: BOOT2 });
}

// Runs until there is something else to do.
function run() {
  const { core, clock } = mcu;
  for (let left = SLICE; left > 0; left -= BATCH) {
    feed();
    // An interrupt that came before the instruction that waits for it ends the waiting, too.
    if (core.waiting && core.checkForInterrupts()) core.waiting = false;
    if (core.waiting) return;
    let cycles = 0;
    for (let n = 0; n < BATCH && !core.waiting; n++) cycles += core.executeInstruction();
    clock.tick(cycles * NANOS_PER_CYCLE * hurry);
  }
}

let timer = null;
let sleeping = 0;

function go() {
  timer = null;
  try {
    if (sleeping) {
      const elapsed = performance.now() - sleeping;
      sleeping = 0;
      mcu.clock.tick(elapsed * 1e6);
    }
    run();
  } catch (reason) {
    if (reason instanceof Fault) {
      const pc = mcu.core.PC.toString(16);
      console.error(`fault at 0x${pc}: ${reason.message}`);
      // The core locks up if it faults while it serves a fault; the watchdog would end that.
      if (mcu.core.IPSR === HARD_FAULT) {
        mcu.peripherals[WATCHDOG].reason = REASON_TIMER;
        start();
      } else {
        mcu.core.exceptionEntry(HARD_FAULT);
      }
    } else if (reason instanceof Reset) {
      const left = mcu.sram.subarray(0, RAM_WIPED).filter((byte) => byte).length;
      console.log(`reset: ${left} bytes left by the ${reason.message}`);
      start();
    } else {
      throw reason;
    }
  }
  flush();
  if (mcu.core.waiting && !received.length) {
    sleeping = performance.now();
    const alarm = mcu.clock.nextAlarm ? mcu.clock.nanosToNextAlarm / 1e6 : LONGEST_SLEEP_MS;
    timer = setTimeout(go, Math.min(alarm, LONGEST_SLEEP_MS));
  } else {
    setImmediate(go);
    timer = 'now';
  }
}

function wake() {
  if (timer !== 'now' && timer !== null) {
    clearTimeout(timer);
    timer = 'now';
    setImmediate(go);
  }
}

const orders = {
  jump: ([address]) => (mcu.core.PC = Number(address) & ~1),
  circle: () => circle(false),
  mask: () => circle(true),
  hurry: ([factor]) => (hurry = Number(factor)),
};

function circle(masked) {
  const { core } = mcu;
  // Not within an interrupt, nor in the ROM.
  if (core.IPSR || !xip || core.PC < FLASH || core.PC >= FLASH + RECORDS) {
    setImmediate(() => circle(masked));
    return;
  }
  core.PM = masked;
  mcu.flashView.setUint16(core.PC - FLASH, CIRCLE, true);
}

function obey(line) {
  const [name, ...values] = line.split(' ');
  if (!orders[name]) fail(`there is no order ${line}`);
  if (sleeping) mcu.clock.tick((performance.now() - sleeping) * 1e6);
  sleeping = 0;
  orders[name](values);
  mcu.core.waiting = false;
  wake();
}

const image = flashOf(given.image);
const records = openRecords(given.records);
start();
for (const path of [given.socket, `${given.socket}.control`]) fs.rmSync(path, { force: true });
net.createServer((socket) => {
  let text = '';
  socket.on('data', (bytes) => {
    const lines = (text + bytes).split('\n');
    text = lines.pop();
    lines.forEach(obey);
  });
}).listen(`${given.socket}.control`);
const server = net.createServer((socket) => {
  connection?.destroy();
  connection = socket;
  socket.on('data', (bytes) => { received.push({ bytes, at: 0 }); wake(); });
  socket.on('close', () => { if (connection === socket) connection = null; });
  socket.on('error', () => {});
});
server.listen(given.socket, () => {
  console.log('listening');
  go();
});
