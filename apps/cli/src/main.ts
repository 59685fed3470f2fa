#!/usr/bin/env -S node --conditions=@headrace/source
import { enableCompileCache } from 'node:module'

// Before anything is loaded: compiling (and stripping types, when run from source) is most of what a start costs.
enableCompileCache()
const { program } = await import('./program.ts')
await program.parseAsync()
