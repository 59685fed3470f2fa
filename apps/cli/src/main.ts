#!/usr/bin/env -S node --conditions=@headrace/source
console.log(process.version)
