// Reads a simulation per line and writes its result per line.
import { createInterface } from 'node:readline'
import { runSimulation } from '@cloud-copilot/iam-simulate'

for await (const line of createInterface({ input: process.stdin })) {
  let answer
  try {
    const result = await runSimulation(JSON.parse(line), {})
    answer =
      result.resultType === 'error'
        ? { error: JSON.stringify(result.errors) }
        : { result: result.overallResult, ignored: result.result?.ignoredContextKeys ?? [] }
  } catch (error) {
    answer = { error: String(error) }
  }
  if (!process.stdout.write(JSON.stringify(answer) + '\n')) {
    await new Promise((resolve) => process.stdout.once('drain', resolve))
  }
}
