/** Why `npm ci` has to run, or null. */
export function whyInstall(lockText: string, installedText: string | null): string | null
/** Installs what the lockfile says into `root`, if it is not there. */
export function bootstrap(root: string): void
