import { defineRoutesSetup } from '@slidev/types'

// #/lab: the Lab on a page of its own.
export default defineRoutesSetup(routes => [{ name: 'lab', path: '/lab', component: () => import('../lab/Page.vue') }, ...routes])
