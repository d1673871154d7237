// Preloaded into a Host or a Runner: its wall clock is as many milliseconds off as the file says. Monotonic time stays.
const { readFileSync, watch } = require('node:fs')

const file = process.env.HAKURIVER_TEST_CLOCK
const RealDate = Date
let offset = 0
const read = () => {
  offset = Number(readFileSync(file, 'utf8')) || 0
}

if (file) {
  read()
  watch(file, read).unref()
  globalThis.Date = class extends RealDate {
    constructor(...parts) {
      if (parts.length === 0) super(RealDate.now() + offset)
      else super(...parts)
    }
    static now() {
      return RealDate.now() + offset
    }
  }
}
