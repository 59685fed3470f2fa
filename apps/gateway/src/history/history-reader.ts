import type { StreamCatalog } from '@headrace/broker'
import type { ReadHistory } from './scan-history.ts'

/** Reads the records of a stream one by one. Rejects with `schema_registry_unavailable`. */
export function historyReader(catalog: Pick<StreamCatalog, 'reader'>, stream: string): ReadHistory {
  return (record) => {
    const read = catalog.reader(stream, [record])
    return read instanceof Promise ? read.then((known) => known(record)) : read(record)
  }
}
